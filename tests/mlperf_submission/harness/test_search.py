from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlperf_submission.errors import SettingError
from mlperf_submission.harness.interference import DisturbanceLimits
from mlperf_submission.harness.record import RunOutcome
from mlperf_submission.harness.run import RunRequest
from mlperf_submission.harness.search import find_server_qps, limits_for, planned_seconds
from mlperf_submission.harness.settings import RunSettings
from mlperf_submission.rounds import Scenario

MakeSettings = Callable[..., RunSettings]
MakeRequest = Callable[..., RunRequest]


def test_a_search_keeps_its_probes_and_a_later_one_starts_from_them(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    # One sample takes 1 ms, so 1,000/s is the most for long; half a second of 1,600/s has a backlog of 0.3 s.
    # All is coarse, for busy machines: what is shown is the evidence; tools/benchmarks/ shows the exactness.
    settings = make_settings(Scenario.SERVER, target_qps=1000, seconds=0.6).model_copy(
        update={"target_latency_ns": 300_000_000}
    )
    request = null_request(
        settings,
        batch_size=1,
        batch_seconds=0.001,
        max_wait_us=0,
        disturbance_limits=DisturbanceLimits(other_cpu_share=100, stolen_share=100),
    )
    limits = limits_for(request, 10, probe_seconds=0.5, tolerance=0.45, margin=0.2, setup_seconds=0.5)
    folder = tmp_path / "search"
    messages: list[str] = []
    assert planned_seconds(request, limits, folder) > 1
    found = find_server_qps(request, limits, folder, on_message=messages.append)
    assert found.new_probes == len(found.probes) == len(list(folder.glob("probe-*.json"))) > 1
    for number in range(1, found.new_probes + 1):
        assert (folder / f"probe-{number:03d}" / "mlperf_log_detail.txt").exists()
    assert found.target_qps < 3000
    assert any("99th percentile" in message for message in messages)
    confirmation = [probe for probe in found.probes if probe.confirmation]
    assert found.confirmed == any(probe.valid for probe in confirmation)

    again = find_server_qps(request, limits, folder)
    if found.confirmed:
        assert again.new_probes == 0
        assert again.target_qps == found.target_qps
        assert planned_seconds(request, limits, folder) == 0
    else:
        assert again.probes[: len(found.probes)] == found.probes

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
