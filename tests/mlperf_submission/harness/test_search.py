from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlperf_submission.errors import SettingError
from mlperf_submission.harness.record import RunOutcome
from mlperf_submission.harness.run import RunRequest, measure
from mlperf_submission.harness.search import find_server_qps, limits_for, planned_seconds
from mlperf_submission.harness.settings import RunSettings
from mlperf_submission.rounds import Scenario

MakeSettings = Callable[..., RunSettings]
MakeRequest = Callable[..., RunRequest]


@pytest.fixture
def known_limit(monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the rate up to which the system keeps its latency; how fast this machine is, is left out."""

    def measured(request: RunRequest, folder: Path, *, timeout_seconds: float) -> RunOutcome:
        outcome = measure(request, folder, timeout_seconds=timeout_seconds)
        assert outcome.latencies is not None
        holds = request.settings.target_qps <= limit
        p99 = request.settings.target_latency_ns // 2 * (1 if holds else 3)
        latencies = outcome.latencies.model_copy(update={"p99": p99})
        return outcome.model_copy(update={"latencies": latencies, "valid": holds, "disturbances": ()})

    limit = 130.0
    monkeypatch.setattr("mlperf_submission.harness.search.measure", measured)
    return limit


def test_a_search_keeps_its_probes_and_a_later_one_starts_from_them(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest, known_limit: float
) -> None:
    settings = make_settings(Scenario.SERVER, target_qps=100, seconds=0.6)
    request = null_request(settings)
    limits = limits_for(request, 100_000, probe_seconds=0.5, tolerance=0.45, margin=0.2)
    folder = tmp_path / "search"
    messages: list[str] = []
    assert planned_seconds(request, limits, folder) > 1
    found = find_server_qps(request, limits, folder, on_message=messages.append)
    assert found.new_probes == len(found.probes) == len(list(folder.glob("probe-*.json"))) > 1
    for number in range(1, found.new_probes + 1):
        assert (folder / f"probe-{number:03d}" / "mlperf_log_detail.txt").exists()
    assert found.target_qps <= known_limit
    assert any("99th percentile" in message for message in messages)
    assert found.confirmed
    assert found.probes[-1].confirmation

    again = find_server_qps(request, limits, folder)
    assert again.new_probes == 0
    assert again.target_qps == found.target_qps
    assert planned_seconds(request, limits, folder) == 0

    other = request.model_copy(update={"batch_size": 2})
    assert planned_seconds(other, limits, folder) > 1  # another system: nothing is known of it


def test_a_damaged_record_only_costs_its_probe(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    (tmp_path / "probe-001.json").write_text("{")
    request = null_request(make_settings(Scenario.SERVER, seconds=1.0))
    assert planned_seconds(request, limits_for(request, 60), tmp_path) > 1
    with pytest.raises(ValueError, match="Field required"):
        RunOutcome.model_validate({})


def test_only_server_is_searched(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    request = null_request(make_settings(Scenario.OFFLINE))
    with pytest.raises(SettingError, match="Server target"):
        find_server_qps(request, limits_for(request, 60), tmp_path)
