from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from mlperf_submission.compliance.audits import audit_config
from mlperf_submission.errors import NetworkFileError, SettingError, StepFailedError, StepTimeoutError
from mlperf_submission.harness.child import derived_wait_us
from mlperf_submission.harness.lock import holders, host_lock
from mlperf_submission.harness.run import RunOutcome, RunRequest, measure
from mlperf_submission.harness.settings import RunLength, RunSettings, settings_for
from mlperf_submission.rounds import RunKind, Scenario, get_round
from mlperf_submission.submission.accuracy_log import read_accuracy
from mlperf_submission.submission.detail_log import read_detail
from tests.waiting import PATIENCE, until

MakeSettings = Callable[..., RunSettings]
MakeRequest = Callable[..., RunRequest]
T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]


def run(request: RunRequest, folder: Path, timeout_seconds: float = PATIENCE) -> RunOutcome:
    return measure(request, folder, timeout_seconds=timeout_seconds)


STREAMS = [Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM]


@pytest.mark.parametrize("scenario", [Scenario.OFFLINE, Scenario.SERVER, *STREAMS])
def test_a_run_leaves_the_official_files_and_its_outcome(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest, scenario: Scenario
) -> None:
    settings = make_settings(scenario, patient=True)
    # Offline takes as long as its samples: 660 of them in batches of 32 that take 20 ms each. A stream's
    # queries take longer than was said, so that there are enough of them.
    batch_seconds = {Scenario.OFFLINE: 0.02, Scenario.SERVER: 0.0}.get(scenario, 0.001)
    request = null_request(settings, batch_seconds=batch_seconds)
    progress: list[float] = []
    outcome = measure(request, tmp_path / "run", timeout_seconds=PATIENCE, on_progress=progress.append)
    assert outcome.valid, outcome.reasons
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "harness.log",
        "mlperf_log_accuracy.json",
        "mlperf_log_detail.txt",
        "mlperf_log_summary.txt",
    ]
    assert outcome.value == read_detail(tmp_path / "run" / "mlperf_log_detail.txt").values[
        get_round("v4.1").result_fields[scenario]
    ] / (1e6 if scenario in STREAMS else 1)
    assert outcome.units == get_round("v4.1").units(None, scenario)
    assert outcome.samples_issued == outcome.child.completed_samples
    assert outcome.samples_issued == sum(outcome.child.throughput.samples)
    assert outcome.latencies is not None
    assert 0 <= outcome.latencies.minimum <= outcome.latencies.p50 <= outcome.latencies.p99
    assert outcome.loadgen_seconds >= 0.3
    assert outcome.loadgen_version.startswith("6")
    assert outcome.device_names == ("null device 0",)
    assert progress[-1] == 1.0
    assert RunOutcome.model_validate_json(outcome.model_dump_json()) == outcome


def test_the_rounds_seeds_and_counts_are_in_the_log(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    run(null_request(make_settings(Scenario.SERVER)), tmp_path / "run")
    log = read_detail(tmp_path / "run" / "mlperf_log_detail.txt")
    assert log.require("effective_qsl_rng_seed") == 3066443479025735752
    assert log.require("effective_sample_index_rng_seed") == 10688027786191513374
    assert log.require("effective_schedule_rng_seed") == 14962580496156340209
    assert log.require("effective_performance_sample_count") == 1024
    assert log.require("effective_target_latency_ns") == 15_000_000
    assert log.errors == ()


def test_an_accuracy_run_answers_every_sample_once(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    settings = make_settings(kind=RunKind.ACCURACY, samples=100)
    outcome = run(null_request(settings, sample_count=1010), tmp_path / "run")
    entries = list(read_accuracy(tmp_path / "run" / "mlperf_log_accuracy.json"))
    assert outcome.valid, outcome.reasons
    assert outcome.value is None
    assert sorted(entry.qsl_idx for entry in entries) == list(range(1010))
    assert all(entry.data == np.int32(entry.qsl_idx % 1000).tobytes() for entry in entries)
    assert outcome.samples_issued == 1010


@pytest.mark.parametrize(("batch_size", "streams"), [(3, 1), (3, 2), (8, 2)])
def test_a_query_of_several_samples_is_answered_whole(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest, batch_size: int, streams: int
) -> None:
    settings = make_settings(Scenario.MULTI_STREAM, kind=RunKind.ACCURACY, samples=100)
    request = null_request(settings, sample_count=203, batch_size=batch_size, streams=streams)
    outcome = run(request, tmp_path / "run")
    entries = list(read_accuracy(tmp_path / "run" / "mlperf_log_accuracy.json"))
    assert outcome.valid, outcome.reasons
    assert {entry.qsl_idx for entry in entries} == set(range(203))
    assert all(entry.data == np.int32(entry.qsl_idx % 1000).tobytes() for entry in entries)
    assert len(entries) == outcome.samples_issued == outcome.child.completed_samples


def test_equal_issue_runs_whole_permutations_in_single_stream(
    tmp_path: Path, null_request: MakeRequest
) -> None:
    settings = settings_for(
        get_round("v6.1"),
        "3d-unet-99",
        RunKind.PERFORMANCE,
        Scenario.SINGLE_STREAM,
        target_qps=1000,
        performance_sample_count=50,
        length=RunLength.rehearsal(0.2),
    )
    request = null_request(settings, sample_count=50, batch_seconds=0.002)
    outcome = run(request, tmp_path / "run")
    assert outcome.valid, outcome.reasons
    assert outcome.samples_issued >= settings.expected_queries == 400
    assert outcome.samples_issued % 50 == 0


def test_a_stream_that_is_faster_than_was_said_runs_out_of_queries(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    settings = make_settings(Scenario.SINGLE_STREAM, target_qps=1)
    outcome = run(null_request(settings), tmp_path / "run")
    assert not outcome.valid
    assert outcome.faults == ()
    assert outcome.value is not None and outcome.value > 0  # as many queries as the percentile needs
    assert any("lower expected_latency_ms" in reason.remedy for reason in outcome.reasons)


@pytest.mark.parametrize("kind", [RunKind.TEST01, RunKind.TEST04, RunKind.TEST05])
def test_audits_are_applied_and_show_in_the_log(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest, kind: RunKind
) -> None:
    settings = make_settings(Scenario.SERVER, kind=kind, target_qps=20000, patient=True)
    request = null_request(settings, audit_config=audit_config(kind, "resnet50"))
    outcome = run(request, tmp_path / "run")
    log = read_detail(tmp_path / "run" / "mlperf_log_detail.txt")
    assert outcome.valid, outcome.reasons
    assert (tmp_path / "run" / "audit.config").read_text() == audit_config(kind, "resnet50")
    assert any("Found Audit Config file" in warning for warning in log.warnings)
    entries = list(read_accuracy(tmp_path / "run" / "mlperf_log_accuracy.json"))
    if kind is RunKind.TEST01:
        assert all(entry.data == np.int32(entry.qsl_idx % 1000).tobytes() for entry in entries)
        assert len(entries) > 3000
    else:
        assert entries == []
    assert log.require("effective_performance_issue_same") is (kind is RunKind.TEST04)
    expected = 16799458546791641818 if kind is RunKind.TEST05 else 3066443479025735752
    assert log.require("effective_qsl_rng_seed") == expected


def test_an_audit_that_was_not_applied_is_not_valid(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    outcome = run(null_request(make_settings(Scenario.SERVER, kind=RunKind.TEST04)), tmp_path / "run")
    assert not outcome.valid
    assert any("effective_performance_issue_same" in reason.text for reason in outcome.reasons)


def test_too_slow_is_said_with_the_measured_latency_and_the_limit(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    request = null_request(make_settings(Scenario.SERVER, target_qps=500), batch_seconds=0.02)
    outcome = run(request, tmp_path / "run")
    assert not outcome.valid
    assert outcome.latencies is not None
    latency = next(reason for reason in outcome.reasons if "latency" in reason.text)
    assert f"{outcome.latencies.p99 / 1e6:.2f} ms" in latency.text
    assert "15.00 ms" in latency.text
    assert "batch_size" in latency.remedy


def test_too_short_is_said_with_the_rate_that_was_reached(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    outcome = run(null_request(make_settings(Scenario.OFFLINE, target_qps=100)), tmp_path / "run")
    assert not outcome.valid
    assert outcome.too_short and not outcome.over_latency
    assert "too short" in outcome.reasons[0].text
    assert "raise target_qps" in outcome.reasons[0].remedy


def test_too_few_queries_for_early_stopping_is_said_with_loadgens_own_advice(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    settings = make_settings(Scenario.SERVER, target_qps=400).model_copy(update={"min_query_count": 100})
    outcome = run(null_request(settings), tmp_path / "run")
    assert not outcome.valid
    assert any("early stopping" in reason.text and "queries" in reason.text for reason in outcome.reasons)


def test_a_run_that_hangs_is_ended_by_its_limit_and_frees_the_host(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest, lock: Path
) -> None:
    request = null_request(make_settings(Scenario.OFFLINE), batch_seconds=600)
    with pytest.raises(StepTimeoutError):
        run(request, tmp_path / "run", timeout_seconds=1)
    with host_lock(lock, False, PATIENCE):
        pass


MEASURE = """
import sys
from pathlib import Path
from typing import TypeVar
from mlperf_submission.harness.run import RunRequest, measure
request = RunRequest.model_validate_json(Path(sys.argv[1]).read_text())
measure(request, Path(sys.argv[2]), timeout_seconds=900)
"""


def test_a_killed_parent_leaves_no_child_and_no_lock_and_the_rerun_succeeds(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest, lock: Path
) -> None:
    request = null_request(make_settings(Scenario.SERVER, seconds=60))
    (tmp_path / "request.json").write_text(request.model_dump_json())
    parent = subprocess.Popen(
        [sys.executable, "-c", MEASURE, str(tmp_path / "request.json"), str(tmp_path / "run")], cwd=ROOT
    )
    held = until(lambda: holders(lock))
    until(lambda: (tmp_path / "run" / "mlperf_log_detail.txt").exists())
    child = int(held[0].split()[1])
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not alive(child))
    with host_lock(lock, False, PATIENCE):
        pass
    again = request.model_copy(update={"settings": make_settings(Scenario.SERVER, patient=True)})
    assert run(again, tmp_path / "run").valid


def test_a_run_whose_lock_file_was_removed_is_flagged(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest, lock: Path
) -> None:
    def remove(_: float) -> None:
        lock.unlink(missing_ok=True)

    request = null_request(make_settings(Scenario.SERVER, seconds=1.5))
    outcome = measure(request, tmp_path / "run", timeout_seconds=PATIENCE, on_progress=remove)
    assert any("was removed" in text for text in outcome.disturbances)


def test_two_runs_of_a_host_never_overlap(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    request = null_request(make_settings(Scenario.SERVER, seconds=0.6))
    (tmp_path / "request.json").write_text(request.model_dump_json())
    parents = [
        subprocess.Popen(
            [sys.executable, "-c", MEASURE, str(tmp_path / "request.json"), str(tmp_path / name)], cwd=ROOT
        )
        for name in ("first", "second")
    ]
    assert [parent.wait(60) for parent in parents] == [0, 0]
    logs = [(tmp_path / name / "mlperf_log_detail.txt").stat() for name in ("first", "second")]
    ends = sorted(status.st_mtime for status in logs)
    assert ends[1] - ends[0] >= 0.6  # the second began after the first had ended


@pytest.mark.parametrize("scenario", [Scenario.OFFLINE, Scenario.SERVER, *STREAMS])
def test_the_little_network_is_answered_by_onnx_runtime(
    tmp_path: Path,
    make_settings: MakeSettings,
    lock: Path,
    little_network: Path,
    samples_folder: Path,
    scenario: Scenario,
) -> None:
    settings = make_settings(scenario, kind=RunKind.ACCURACY, samples=20)
    request = onnx_request(settings, lock, little_network, samples_folder)
    outcome = run(request, tmp_path / "run")
    assert outcome.valid, outcome.reasons
    assert outcome.child.backend.startswith("ONNX Runtime")
    assert outcome.device_names[0]
    answers = {
        entry.qsl_idx: int.from_bytes(entry.data, "little")
        for entry in read_accuracy(tmp_path / "run" / "mlperf_log_accuracy.json")
    }
    assert answers == {number: (7 * number) % 90 for number in range(48)}


@pytest.mark.parametrize("scenario", [Scenario.OFFLINE, *STREAMS])
def test_a_batch_that_fails_ends_the_run_with_its_error(
    tmp_path: Path,
    make_settings: MakeSettings,
    lock: Path,
    little_network: Path,
    poisoned_folder: Path,
    scenario: Scenario,
) -> None:
    settings = make_settings(scenario, kind=RunKind.ACCURACY, samples=20)
    request = onnx_request(settings, lock, little_network, poisoned_folder)
    with pytest.raises(StepFailedError, match="a batch failed"):
        run(request, tmp_path / "run", timeout_seconds=PATIENCE)
    assert "Traceback" in (tmp_path / "run" / "harness.log").read_text()
    with host_lock(lock, False, PATIENCE):
        pass


def test_a_file_that_is_no_network_is_refused(
    tmp_path: Path, make_settings: MakeSettings, lock: Path, samples_folder: Path
) -> None:
    (tmp_path / "text.onnx").write_text("not a network")
    request = onnx_request(make_settings(samples=20), lock, tmp_path / "text.onnx", samples_folder)
    with pytest.raises(NetworkFileError, match="cannot open"):
        run(request, tmp_path / "run")


def test_fewer_samples_than_are_to_be_resident_are_refused(
    tmp_path: Path, make_settings: MakeSettings, lock: Path, little_network: Path, samples_folder: Path
) -> None:
    with pytest.raises(SettingError, match="48 samples, but 1024"):
        run(onnx_request(make_settings(), lock, little_network, samples_folder), tmp_path / "run")


def test_a_folder_with_other_files_is_left_alone(
    tmp_path: Path, make_settings: MakeSettings, null_request: MakeRequest
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingError, match=r"thesis\.txt"):
        run(null_request(make_settings()), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("limit_ms", "batch_ms", "wait_ms"), [(15, 0.1, 0.1), (15, 5, 2), (15, 8, 0), (100, 10, 10)]
)
def test_the_wait_for_a_batch_leaves_room_for_two_batches(
    limit_ms: float, batch_ms: float, wait_ms: float
) -> None:
    assert derived_wait_us(round(limit_ms * 1e6), batch_ms / 1e3) == pytest.approx(wait_ms * 1e3)


def onnx_request(settings: RunSettings, lock: Path, network: Path, samples: Path) -> RunRequest:
    return RunRequest(
        settings=settings,
        benchmark="resnet50",
        precision="int8",
        backend="onnxruntime",
        engine=network,
        samples=samples,
        batch_size=8,
        streams=2,
        lock=lock,
    )


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
