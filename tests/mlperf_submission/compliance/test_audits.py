"""The compliance tests: configuration, proof, verdict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.compliance.audits import (
    AuditRuns,
    AuditVerdict,
    audit_config,
    judge_audit,
    prove_applied,
)
from mlperf_submission.compliance.scores import compare_performance
from mlperf_submission.errors import AuditError
from mlperf_submission.rounds import V4_1, RunKind, Scenario
from mlperf_submission.submission.conf import parse_conf

OFFLINE, SERVER = Scenario.OFFLINE, Scenario.SERVER
TESTS = (RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
ALL_RUNS = (RunKind.PERFORMANCE, RunKind.ACCURACY, *TESTS)
LogWriter = Callable[[Path, Iterable[tuple[int, bytes]]], Path]


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


def judged(corpus: Any, scenario: Scenario, kind: RunKind, score: Any = None, **changes: Any) -> AuditVerdict:
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
        score=score,
    )


@pytest.mark.parametrize("scenario", [OFFLINE, SERVER])
@pytest.mark.parametrize("kind", TESTS)
def test_real_audits_pass_with_the_official_files(corpus: Any, scenario: Scenario, kind: RunKind) -> None:
    verdict = judged(corpus, scenario, kind)
    assert verdict.passed, verdict.reasons
    # The scores stand there as LoadGen's summary has them, which may end with a zero.
    assert verdict.verify_performance is not None
    first, reference, score, last = verdict.verify_performance.splitlines()
    assert (first, last) == ("Verifying performance.", "TEST PASS")
    assert reference.startswith("reference score = ") and score.startswith("test score = ")
    found = [float(line.rpartition(" ")[2]) for line in (reference, score)]
    assert found == pytest.approx([verdict.reference_score, verdict.audit_score], rel=1e-5)
    assert (verdict.verify_accuracy is not None) == (kind is RunKind.TEST01)
    assert verdict.baseline_accuracy is None
    assert AuditVerdict.model_validate_json(verdict.model_dump_json()) == verdict


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


def altered(corpus: Any, write_log: LogWriter, folder: Path, every: int) -> Path:
    """The TEST01 log of the Offline corpus with every n-th sample's response changed."""
    text = (corpus.folder(OFFLINE, RunKind.TEST01) / "mlperf_log_accuracy.json").read_text()
    entries = [(one["qsl_idx"], bytes.fromhex(one["data"])) for one in json.loads(text)]
    changed = [(index, b"\xff\xff\x00\x00" if index % every == 0 else data) for index, data in entries]
    return write_log(folder / f"audit{every}.json", changed)


def test_fallback_accepts_a_score_within_one_percent(
    corpus: Any, tmp_path: Path, write_log: LogWriter, score_labels: Any
) -> None:
    verdict = judged(
        corpus,
        OFFLINE,
        RunKind.TEST01,
        score_labels,
        audit_accuracy_log=altered(corpus, write_log, tmp_path, 300),
    )
    assert verdict.passed, verdict.reasons
    assert verdict.verify_accuracy is not None
    assert "TEST FAIL" in verdict.verify_accuracy
    assert verdict.baseline_accuracy is not None
    assert verdict.baseline_accuracy.startswith("accuracy=100.000%")
    assert verdict.compliance_accuracy is not None
    assert verdict.compliance_accuracy.startswith("accuracy=99.")
    assert any("differ from the accuracy run" in reason for reason in verdict.reasons)


def test_fallback_refuses_a_score_further_away(
    corpus: Any, tmp_path: Path, write_log: LogWriter, score_labels: Any
) -> None:
    verdict = judged(
        corpus,
        OFFLINE,
        RunKind.TEST01,
        score_labels,
        audit_accuracy_log=altered(corpus, write_log, tmp_path, 20),
    )
    assert not verdict.passed
    assert any("% apart" in reason for reason in verdict.reasons)


def test_a_plain_run_in_the_audits_folder_is_no_audit(corpus: Any, tmp_path: Path) -> None:
    """LoadGen ignores a missing audit.config without a word; only the proof tells such a run apart."""
    folder = tmp_path / "TEST04"
    shutil.copytree(corpus.folder(OFFLINE, RunKind.PERFORMANCE), folder)
    plain = replace(corpus.log(OFFLINE, RunKind.PERFORMANCE), path=folder / "mlperf_log_detail.txt")
    assert compare_performance(RunKind.TEST04, corpus.log(OFFLINE, RunKind.PERFORMANCE), plain).passed
    with pytest.raises(AuditError, match="plain run"):
        judged(corpus, OFFLINE, RunKind.TEST04, audit=plain)
