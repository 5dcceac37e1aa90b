"""The compliance tests: configuration, proof, verdict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import AuditError, LogError, SettingError
from mlperf.audit_responses import compare_with_baseline
from mlperf.audit_scores import compare_performance
from mlperf.audits import AuditRuns, AuditVerdict, audit_config, compare_accuracy, judge_audit, prove_applied
from mlperf.conf import parse_conf
from mlperf.logs import AccuracyLogEntry, DetailLog
from mlperf.rounds import V4_1, RunKind, Scenario

OFFLINE, SERVER = Scenario.OFFLINE, Scenario.SERVER
TESTS = (RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
ALL_RUNS = (RunKind.PERFORMANCE, RunKind.ACCURACY, *TESTS)


@dataclass(frozen=True)
class Scored:
    metrics: dict[str, float]
    lines: tuple[str, ...]


def share_of_right_labels(entries: Iterable[AccuracyLogEntry]) -> Scored:
    """The corpus's ground truth: the label of sample i is i % 1000."""
    first: dict[int, bool] = {}
    for entry in entries:
        right = int.from_bytes(entry.data, "little") == entry.qsl_idx % 1000
        first.setdefault(entry.qsl_idx, right)
    good = sum(first.values())
    share = 100 * good / len(first)
    return Scored({"acc": share}, (f"accuracy={share:.3f}%, good={good}, total={len(first)}",))


def write_log(path: Path, entries: Iterable[tuple[int, bytes]]) -> Path:
    rows = [
        f'{{ "seq_id" : {number}, "qsl_idx" : {index}, "data" : "{data.hex().upper()}" }}'
        for number, (index, data) in enumerate(entries)
    ]
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n")
    return path


@pytest.fixture
def run_with_score(tmp_path: Path) -> Callable[..., DetailLog]:
    """A performance run with a summary, as far as an audit's comparison reads it."""
    count = iter(range(100))

    def make(scenario: Scenario, score: float, **changes: Any) -> DetailLog:
        keys = {
            OFFLINE: ("result_samples_per_second", "Samples per second: {}"),
            SERVER: ("result_completed_samples_per_sec", "Completed samples per second    : {}"),
            Scenario.SINGLE_STREAM: (
                "early_stopping_latency_ss",
                " * Early stopping 90.0th percentile estimate: {}",
            ),
            Scenario.MULTI_STREAM: (
                "early_stopping_latency_ms",
                " * Early stopping 99.0th percentile estimate: {}",
            ),
        }
        key, line = keys[scenario]
        folder = tmp_path / f"run{next(count)}"
        folder.mkdir()
        said = changes.pop("summary", score)
        (folder / "mlperf_log_summary.txt").write_text(f"Scenario : {scenario}\n{line.format(said)}\n")
        values = {
            "effective_scenario": str(scenario),
            "effective_test_mode": "PerformanceOnly",
            "effective_target_qps": 1000,
            "effective_min_duration_ms": 600_000,
            "result_validity": "VALID",
            key: score,
        }
        return DetailLog(folder / "mlperf_log_detail.txt", {**values, **changes})

    return make


@pytest.mark.parametrize(
    ("benchmark", "target"), [("resnet50", 4096), ("bert-99", 4096), ("retinanet", 256), ("3d-unet-99", 64)]
)
def test_test01_samples_the_official_number_of_responses(benchmark: str, target: int) -> None:
    entries = parse_conf(audit_config(RunKind.TEST01, benchmark)).entries
    assert entries == {
        "*.*.mode": "2",
        "*.*.accuracy_log_rng_seed": "720381539243781796",
        "*.*.accuracy_log_sampling_target": str(target),
    }


@pytest.mark.parametrize("scenario", ["Offline", "Server", "SingleStream", "MultiStream"])
def test_test04_issues_one_sample_in_every_scenario(scenario: str) -> None:
    conf = parse_conf(audit_config(RunKind.TEST04, "resnet50"))
    assert conf.problems == ()
    keys = ("mode", "performance_issue_unique", "performance_issue_same", "performance_issue_same_index")
    assert [conf.lookup("resnet50", scenario, key) for key in keys] == ["2", "0", "1", "3"]


def test_test05_and_what_is_no_audit() -> None:
    assert parse_conf(audit_config(RunKind.TEST05, "resnet50")).entries == {"*.*.test05": "1"}
    with pytest.raises(AuditError, match="no audit"):
        audit_config(RunKind.PERFORMANCE, "resnet50")
    with pytest.raises(AuditError, match="cannot be run here"):
        audit_config(RunKind.TEST06, "llama2-70b-99")


@pytest.mark.parametrize("scenario", [OFFLINE, SERVER])
@pytest.mark.parametrize("kind", TESTS)
@pytest.mark.parametrize("run", ALL_RUNS)
def test_only_the_log_of_an_audit_proves_it(
    corpus: Any, scenario: Scenario, kind: RunKind, run: RunKind
) -> None:
    log = corpus.log(scenario, run)
    if run is kind:
        prove_applied(kind, log, V4_1, "resnet50")
        return
    with pytest.raises(AuditError, match=f"does not prove that {kind} was applied") as caught:
        prove_applied(kind, log, V4_1, "resnet50")
    assert ("plain run" in str(caught.value)) == (not run.is_audit)


@pytest.mark.parametrize(
    "changes",
    [
        {"effective_accuracy_log_sampling_target": 256},
        {"effective_accuracy_log_rng_seed": 0},
        {"effective_test_mode": "AccuracyOnly"},
        {"effective_qsl_rng_seed": 1},
    ],
)
def test_each_setting_of_test01_is_needed(corpus: Any, changes: dict[str, Any]) -> None:
    log = corpus.log(OFFLINE, RunKind.TEST01)
    with pytest.raises(AuditError, match=next(iter(changes))):
        prove_applied(RunKind.TEST01, replace(log, values={**log.values, **changes}), V4_1, "resnet50")


def test_the_warning_about_the_file_is_needed(corpus: Any) -> None:
    log = replace(corpus.log(OFFLINE, RunKind.TEST04), warnings=())
    with pytest.raises(AuditError, match="Found Audit Config file"):
        prove_applied(RunKind.TEST04, log, V4_1)


def test_a_round_without_test05_has_none(corpus: Any) -> None:
    with pytest.raises(AuditError, match="has no TEST05"):
        prove_applied(RunKind.TEST05, corpus.log(OFFLINE, RunKind.TEST05), replace(V4_1, test05_seeds=None))


def judged(corpus: Any, scenario: Scenario, kind: RunKind, **changes: Any) -> AuditVerdict:
    runs = AuditRuns(
        reference=corpus.log(scenario, RunKind.PERFORMANCE),
        audit=corpus.log(scenario, kind),
        accuracy_log=corpus.folder(scenario, RunKind.ACCURACY) / "mlperf_log_accuracy.json",
        audit_accuracy_log=corpus.folder(scenario, kind) / "mlperf_log_accuracy.json",
    )
    return judge_audit(
        kind,
        replace(runs, **changes),
        round_=V4_1,
        benchmark="resnet50",
        response_dtype="int32",
        score=share_of_right_labels,
    )


@pytest.mark.parametrize("scenario", [OFFLINE, SERVER])
@pytest.mark.parametrize("kind", TESTS)
def test_real_audits_pass_with_the_official_files(corpus: Any, scenario: Scenario, kind: RunKind) -> None:
    verdict = judged(corpus, scenario, kind)
    assert verdict.passed, verdict.reasons
    assert verdict.verify_performance == (
        f"Verifying performance.\nreference score = {verdict.reference_score:.6g}\n"
        f"test score = {verdict.audit_score:.6g}\nTEST PASS\n"
    )
    assert (verdict.verify_accuracy is not None) == (kind is RunKind.TEST01)
    assert verdict.baseline_accuracy is None
    assert AuditVerdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_published_verdicts_are_found_again_byte_for_byte(published: Any) -> None:
    count = 0
    for benchmark, scenario in published.results():
        for kind in TESTS:
            folder = published.root / "compliance" / published.system / benchmark / scenario / kind
            if not folder.is_dir():
                continue
            audit = published.log(benchmark, scenario, kind)
            prove_applied(kind, audit, V4_1, benchmark)
            found = compare_performance(kind, published.log(benchmark, scenario), audit)
            assert found.text == (folder / "verify_performance.txt").read_text()
            assert found.passed
            count += 1
    assert count == 16


def test_verify_accuracy_has_the_official_lines(corpus: Any) -> None:
    text = judged(corpus, OFFLINE, RunKind.TEST01).verify_accuracy
    assert text is not None
    lines = text.splitlines()
    assert lines[0] == "Verifying accuracy. This might take a while..."
    assert lines[3] == "num_acc_log_entries = 2000"
    keys = [line.split(" = ")[0] for line in lines[3:10]]
    assert keys == [
        "num_acc_log_entries",
        "num_acc_log_duplicate_keys",
        "num_acc_log_data_mismatch",
        "num_perf_log_entries",
        "num_perf_log_qsl_idx_match",
        "num_perf_log_data_mismatch",
        "num_missing_qsl_idxs",
    ]
    assert lines[10:] == ["TEST PASS", ""]


@pytest.mark.parametrize(
    ("kind", "scenario", "score", "passed"),
    [
        (RunKind.TEST01, OFFLINE, 1099, True),
        (RunKind.TEST01, OFFLINE, 1101, False),
        (RunKind.TEST01, OFFLINE, 901, True),
        (RunKind.TEST01, OFFLINE, 899, False),
        (RunKind.TEST04, SERVER, 1099, True),
        (RunKind.TEST04, SERVER, 1100.0001, False),
        (RunKind.TEST04, SERVER, 500, True),
        (RunKind.TEST05, SERVER, 951, True),
        (RunKind.TEST05, SERVER, 950, False),
        (RunKind.TEST05, OFFLINE, 5000, True),
        (RunKind.TEST05, Scenario.SINGLE_STREAM, 500, True),
        (RunKind.TEST05, Scenario.SINGLE_STREAM, 1199, True),
        (RunKind.TEST05, Scenario.SINGLE_STREAM, 1201, False),
        (RunKind.TEST01, Scenario.MULTI_STREAM, 801, True),
        (RunKind.TEST01, Scenario.MULTI_STREAM, 799, False),
        (RunKind.TEST04, Scenario.SINGLE_STREAM, 800, False),
        (RunKind.TEST04, Scenario.SINGLE_STREAM, 900, True),
    ],
)
def test_each_test_has_its_own_limits(
    run_with_score: Callable[..., DetailLog], kind: RunKind, scenario: Scenario, score: float, passed: bool
) -> None:
    found = compare_performance(kind, run_with_score(scenario, 1000), run_with_score(scenario, score))
    assert found.passed is passed, found
    assert found.text.endswith("TEST PASS\n" if passed else "TEST FAIL: Test score invalid\n")


def test_large_latencies_have_the_narrow_limits(run_with_score: Callable[..., DetailLog]) -> None:
    slow = run_with_score(Scenario.SINGLE_STREAM, 1_000_000)
    assert not compare_performance(
        RunKind.TEST01, slow, run_with_score(Scenario.SINGLE_STREAM, 1_110_000)
    ).passed


@pytest.mark.parametrize(
    "changes",
    [
        {"effective_target_qps": 890},
        {"effective_target_qps": 1101},
        {"effective_target_qps": None},
        {"effective_min_duration_ms": 2000},
        {"effective_target_latency_ns": 30_000_000},
        {"effective_performance_sample_count": 5},
        {"loadgen_version": "other"},
    ],
)
def test_an_audit_of_another_result_is_refused(
    run_with_score: Callable[..., DetailLog], changes: dict[str, Any]
) -> None:
    found = compare_performance(
        RunKind.TEST04, run_with_score(SERVER, 1000), run_with_score(SERVER, 1000, **changes)
    )
    assert not found.passed
    assert next(iter(changes)) in found.reasons[0]
    assert "TEST PASS" not in found.text


def test_another_scenario_and_an_invalid_run_give_no_score(run_with_score: Callable[..., DetailLog]) -> None:
    reference = run_with_score(SERVER, 1000)
    invalid = run_with_score(SERVER, 1000, result_validity="INVALID", result_invalid_reason="too slow")
    for audit in (run_with_score(OFFLINE, 1000), invalid):
        found = compare_performance(RunKind.TEST01, reference, audit)
        assert not found.passed
        assert found.text == "Verifying performance.\n"
    assert "too slow" in found.reasons[0]


def test_a_summary_of_another_run_is_refused(run_with_score: Callable[..., DetailLog]) -> None:
    with pytest.raises(LogError, match="the summary says 1200"):
        compare_performance(
            RunKind.TEST01, run_with_score(OFFLINE, 1000), run_with_score(OFFLINE, 1000, summary=1200)
        )


def test_a_difference_behind_the_first_element_is_found(tmp_path: Path) -> None:
    accuracy = write_log(tmp_path / "a", [(0, b"\x01\x00\x00\x00\x02"), (1, b"\x03\x00\x00\x00\x04")])
    audit = write_log(tmp_path / "b", [(1, b"\x03\x00\x00\x00\x05"), (0, b"\x01\x00\x00\x00\x02")])
    found = compare_accuracy(accuracy, audit, "int32")
    assert (found.passed, found.mismatches, found.first_element_mismatches) == (False, 1, 0)
    assert found.text.endswith("TEST FAIL\n\n")


def test_long_responses_are_compared_too(tmp_path: Path) -> None:
    long = bytes(100_000)
    accuracy = write_log(tmp_path / "a", [(0, long)])
    assert compare_accuracy(accuracy, write_log(tmp_path / "b", [(0, long)]), "byte").passed
    assert not compare_accuracy(
        accuracy, write_log(tmp_path / "c", [(0, long[:-1] + b"\x01")]), "byte"
    ).passed
    assert not compare_accuracy(accuracy, write_log(tmp_path / "d", [(0, long[:-1])]), "byte").passed


def test_nothing_to_compare_is_no_pass(tmp_path: Path) -> None:
    accuracy = write_log(tmp_path / "a", [(0, b"\x01")])
    empty = tmp_path / "b"
    empty.write_text("[\n]\n")
    assert not compare_accuracy(accuracy, empty, "byte").passed
    missing = compare_accuracy(accuracy, write_log(tmp_path / "c", [(7, b"\x01"), (7, b"\x02")]), "byte")
    assert (missing.passed, missing.missing, missing.matched) == (False, 2, 0)


def test_an_accuracy_run_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    accuracy = write_log(tmp_path / "a", [(0, b"\x01"), (0, b"\x02"), (0, b"\x01")])
    found = compare_accuracy(accuracy, write_log(tmp_path / "b", [(0, b"\x01")]), "byte")
    assert (found.duplicate_keys, found.duplicate_mismatches, found.passed) == (2, 1, False)


def test_a_truncated_log_and_an_unknown_dtype_are_named(tmp_path: Path) -> None:
    log = write_log(tmp_path / "a", [(0, b"\x01")])
    cut = tmp_path / "cut"
    cut.write_bytes(log.read_bytes()[:-10])
    with pytest.raises(LogError):
        compare_accuracy(cut, log, "byte")
    with pytest.raises(SettingError, match="known dtypes"):
        compare_accuracy(log, log, "label")


@given(
    responses=st.dictionaries(st.integers(0, 50), st.binary(max_size=80), min_size=1),
    sampled=st.lists(st.integers(0, 50), max_size=30),
    flips=st.sets(st.integers(0, 29)),
)
def test_counts_are_those_of_a_plain_comparison(
    tmp_path_factory: pytest.TempPathFactory,
    responses: dict[int, bytes],
    sampled: list[int],
    flips: set[int],
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    audit = [
        (index, responses.get(index, b"?") + (b"x" if number in flips else b""))
        for number, index in enumerate(sampled)
    ]
    found = compare_accuracy(
        write_log(folder / "a", responses.items()),
        write_log(folder / "b", audit) if audit else _empty(folder / "b"),
        "byte",
    )
    known = [(index, data) for index, data in audit if index in responses]
    assert found.matched == len(known)
    assert found.missing == len(audit) - len(known)
    assert found.mismatches == sum(data != responses[index] for index, data in known)
    assert found.passed == (bool(known) and not found.missing and not found.mismatches)


def _empty(path: Path) -> Path:
    path.write_text("[\n]\n")
    return path


def altered(corpus: Any, folder: Path, every: int) -> Path:
    """The TEST01 log of the Offline corpus with every n-th sample's response changed."""
    text = (corpus.folder(OFFLINE, RunKind.TEST01) / "mlperf_log_accuracy.json").read_text()
    entries = [(one["qsl_idx"], bytes.fromhex(one["data"])) for one in json.loads(text)]
    changed = [(index, b"\xff\xff\x00\x00" if index % every == 0 else data) for index, data in entries]
    return write_log(folder / f"audit{every}.json", changed)


def test_fallback_accepts_a_score_within_one_percent(corpus: Any, tmp_path: Path) -> None:
    verdict = judged(corpus, OFFLINE, RunKind.TEST01, audit_accuracy_log=altered(corpus, tmp_path, 300))
    assert verdict.passed, verdict.reasons
    assert verdict.verify_accuracy is not None
    assert "TEST FAIL" in verdict.verify_accuracy
    assert verdict.baseline_accuracy is not None
    assert verdict.baseline_accuracy.startswith("accuracy=100.000%")
    assert verdict.compliance_accuracy is not None
    assert verdict.compliance_accuracy.startswith("accuracy=99.")
    assert any("differ from the accuracy run" in reason for reason in verdict.reasons)


def test_fallback_refuses_a_score_further_away(corpus: Any, tmp_path: Path) -> None:
    verdict = judged(corpus, OFFLINE, RunKind.TEST01, audit_accuracy_log=altered(corpus, tmp_path, 20))
    assert not verdict.passed
    assert any("% apart" in reason for reason in verdict.reasons)


def test_baseline_holds_only_the_sampled_samples(tmp_path: Path) -> None:
    accuracy = write_log(tmp_path / "a", [(index, index.to_bytes(4, "little")) for index in range(10)])
    audit = write_log(tmp_path / "b", [(3, b"\x03\0\0\0"), (4, b"\x09\0\0\0"), (3, b"\x03\0\0\0")])
    found = compare_with_baseline(accuracy, audit, share_of_right_labels, tolerance_percent=lambda _: 1.0)
    assert found.baseline_text == "accuracy=100.000%, good=2, total=2\n"
    assert found.compliance_text == "accuracy=50.000%, good=1, total=2\n"
    assert not found.passed


def test_a_metric_of_zero_cannot_be_compared(tmp_path: Path) -> None:
    log = write_log(tmp_path / "a", [(1, b"\x00\0\0\0")])
    assert not compare_with_baseline(log, log, share_of_right_labels, tolerance_percent=lambda _: 1.0).passed


def test_a_plain_run_in_the_audits_folder_is_no_audit(corpus: Any, tmp_path: Path) -> None:
    """LoadGen ignores a missing audit.config without a word; only the proof tells such a run apart."""
    folder = tmp_path / "TEST04"
    shutil.copytree(corpus.folder(OFFLINE, RunKind.PERFORMANCE), folder)
    plain = replace(corpus.log(OFFLINE, RunKind.PERFORMANCE), path=folder / "mlperf_log_detail.txt")
    assert compare_performance(RunKind.TEST04, corpus.log(OFFLINE, RunKind.PERFORMANCE), plain).passed
    with pytest.raises(AuditError, match="plain run"):
        judged(corpus, OFFLINE, RunKind.TEST04, audit=plain)
