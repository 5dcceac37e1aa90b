"""Small complete submissions of later rounds, and mutations of them with the official verdicts.

`tin` (closed, edge): resnet50 with TEST01 and TEST04; `box` (closed, datacenter): llama3.1-8b with TEST06;
`images` (closed, datacenter in v5.1, edge in v6.0): stable-diffusion-xl; `models` (v6.0: gpt-oss-120b with
TEST07 and TEST09, dlrm-v3 with TEST08); `yolo` (v6.0, edge); `lab` (open, edge): a net of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlperf_submission.rounds import Scenario, get_round
from tests.mlperf_submission.validation.sample_submission import (
    NULL,
    Mutation,
    Submission,
    detail_line,
    write_model,
    write_system,
)

OFFLINE, SERVER, INTERACTIVE = Scenario.OFFLINE, Scenario.SERVER, Scenario.INTERACTIVE
SINGLE, MULTI = Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM
_PARTS: dict[str, tuple[str, str, str, dict[str, tuple[Scenario, ...]]]] = {
    "tin": ("closed", "tin", "edge", {"resnet50": (OFFLINE, SINGLE, MULTI)}),
    "box": ("closed", "box", "datacenter", {"llama3.1-8b": (OFFLINE, SERVER, INTERACTIVE)}),
    "models": (
        "closed",
        "box",
        "datacenter",
        {"gpt-oss-120b": (OFFLINE, SERVER), "dlrm-v3": (OFFLINE, SERVER)},
    ),
    "yolo": ("closed", "tin", "edge", {"yolo-95": (OFFLINE, SINGLE, MULTI)}),
    "lab": ("open", "lab", "edge", {"my_net": (OFFLINE, SINGLE)}),
}


def build_later(root: Path, round_name: str, parts: str) -> Submission:
    """Write a submission of a later round; `parts` names its systems."""
    made = Submission(root, round=get_round(round_name))
    root.mkdir(parents=True, exist_ok=True)
    for part in parts.split():
        division, system, kind, models = _part(part, round_name)
        write_system(made, division, system, kind)
        if division == "open":
            made.write("open/Acme/model_mapping.json", json.dumps({"my_net": "resnet"}))
        for model, scenarios in models.items():
            write_model(made, division, system, model, scenarios)
        made.write(f"{division}/Acme/calibration.md", "how")
    return made


def _part(part: str, round_name: str) -> tuple[str, str, str, dict[str, tuple[Scenario, ...]]]:
    if part != "images":
        return _PARTS[part]
    if round_name == "v5.1":
        return "closed", "box", "datacenter", {"stable-diffusion-xl": (OFFLINE, SERVER)}
    return "closed", "tin", "edge", {"stable-diffusion-xl": (OFFLINE, SINGLE)}


@dataclass(frozen=True)
class LaterCase:
    """A mutation of a later tree.

    Attributes:
        round: the round of the tree.
        name: in words, joined by underscores.
        parts: the systems that the tree needs.
        rule: the rule that it breaks; empty: none, the tree is still fine.
        ours: how ours judges it.
        official: how the checker in force judges it (v5.1: v5.1.1; v6.0: the module); `crashes` refuses too.
    """

    round: str
    name: str
    parts: str
    rule: str
    ours: Literal["error", "warning", "fine"]
    official: Literal["refuses", "crashes", "accepts"]
    mutate: Mutation


TIN = "closed/Acme/results/tin/resnet50"
LLAMA = "closed/Acme/results/box/llama3.1-8b"
LAB = "open/Acme/results/lab/my_net"
HASH = f"hash={'ab' * 32}\n"
NO_CHECK = "First token check pass: True\nEOS check pass: False\nSample length check pass: True\n"


class _Round:
    """Places of a round's tree, and the cases of it."""

    def __init__(self, name: str, cases: list[LaterCase]) -> None:
        self.name = name
        self.beside = get_round(name).runs_beside_results
        self.code = get_round(name).source_folder
        self.cases = cases

    def audits(self, result: str) -> str:
        return result if self.beside else result.replace("/results/", "/compliance/")

    def measurements(self, result: str) -> str:
        return result if self.beside else result.replace("/results/", "/measurements/")

    def json_of(self, result: str) -> str:
        parts = result.split("/")
        name = "measurements.json" if self.beside else f"{parts[3]}_{parts[5]}.json"
        return f"{self.measurements(result)}/{name}"

    def case(
        self,
        ours: Literal["error", "warning", "fine"],
        official: Literal["refuses", "crashes", "accepts"],
        rule: str,
        name: str,
        mutate: Mutation,
        parts: str = "tin",
    ) -> None:
        self.cases.append(LaterCase(self.name, name, parts, rule, ours, official, mutate))


CASES: list[LaterCase] = []


def _fail_test01(s: Submission, test01: str, lines: str = "TEST FAIL\n") -> Submission:
    return s.write(f"{test01}/verify_accuracy.txt", lines)


def _fallback(s: Submission, test01: str, baseline: str, compliance: str) -> None:
    _fail_test01(s, test01)
    s.write(f"{test01}/accuracy/baseline_accuracy.txt", f"accuracy={baseline}%\n")
    s.write(f"{test01}/accuracy/compliance_accuracy.txt", f"accuracy={compliance}%\n")


def _both(name: str) -> None:
    """Cases that every later round has, with the verdicts of its own checker."""
    r = _Round(name, CASES)
    v5 = name == "v5.1"
    multi, offline = f"{TIN}/MultiStream", f"{TIN}/Offline"
    run, accuracy = f"{offline}/performance/run_1", f"{offline}/accuracy"
    test01 = f"{r.audits(f'{TIN}/SingleStream')}/TEST01"
    tin, box = "closed/Acme/systems/tin.json", "closed/Acme/systems/box.json"
    detail = f"{run}/mlperf_log_detail.txt"
    crash: Literal["refuses", "crashes", "accepts"] = "refuses" if v5 else "crashes"
    drop: Literal["error", "warning", "fine"] = "error" if v5 else "warning"
    dropped: Literal["refuses", "crashes", "accepts"] = "refuses" if v5 else "accepts"
    only_v5: Literal["refuses", "crashes", "accepts"] = "accepts" if v5 else "refuses"
    run_rule, logs_rule = ("P-01", "A-07") if v5 else ("V-01", "V-01")
    r.case("error", crash, run_rule, "performance_missing", lambda s: s.delete(f"{multi}/performance"))
    r.case("error", crash, run_rule, "detail_missing", lambda s: s.delete(detail))
    r.case(drop, dropped, "P-01", "summary_missing", lambda s: s.delete(f"{run}/mlperf_log_summary.txt"))
    r.case(drop, dropped, "P-01", "extra_file_in_run", lambda s: s.write(f"{run}/notes.txt", "x"))
    r.case(
        "error",
        crash,
        logs_rule,
        "accuracy_detail_missing",
        lambda s: s.delete(f"{accuracy}/mlperf_log_detail.txt"),
    )
    r.case(
        "error",
        "refuses",
        "A-08",
        "accuracy_log_missing",
        lambda s: s.delete(f"{accuracy}/mlperf_log_accuracy.json"),
    )
    r.case("error", "refuses", "A-06", "accuracy_txt_missing", lambda s: s.delete(f"{accuracy}/accuracy.txt"))
    r.case(drop, dropped, "A-07", "extra_accuracy_file", lambda s: s.write(f"{accuracy}/notes.txt", "x"))
    no_count = {"qsl_reported_total_count": None}
    r.case("error", only_v5, "+accuracy-samples", "no_sample_count", lambda s: s.log(accuracy, **no_count))
    few = {"qsl_reported_total_count": 500}
    r.case("error", only_v5, "+accuracy-samples", "few_accuracy_samples", lambda s: s.log(accuracy, **few))
    r.case("error", "refuses", "E-05", "measurements_missing", lambda s: s.delete(r.json_of(offline)))
    r.case(
        "error",
        "refuses",
        "E-05",
        "measurements_of_another_name",
        lambda s: s.move(r.json_of(offline), f"{r.measurements(offline)}/other.json"),
    )
    r.case("error", "refuses", "E-06", "field_missing", lambda s: s.json(r.json_of(offline), retraining=None))
    r.case("error", "refuses", "C-01", "code_missing", lambda s: s.delete(f"closed/Acme/{r.code}"))
    r.case(
        "error", "refuses", "T-11" if not v5 else "T-10", "test01_failed", lambda s: _fail_test01(s, test01)
    )
    r.case("fine", "accepts", "", "test01_fallback", lambda s: _fallback(s, test01, "76.1", "75.9"))
    r.case("error", "refuses", "T-11", "test01_beyond", lambda s: _fallback(s, test01, "76.1", "75.0"))
    r.case(
        "error",
        "accepts" if v5 else "refuses",
        "T-11" if not v5 else "T-10",
        "test01_no_pass",
        lambda s: _fail_test01(s, test01, "no TEST PASS here\n"),
    )
    r.case(
        drop,
        dropped,
        "T-10",
        "test01_without_accuracy_folder",
        lambda s: s.delete(f"{test01}/accuracy"),
    )
    r.case(
        "error",
        "refuses",
        "T-04",
        "test04_failed",
        lambda s: s.write(f"{r.audits(offline)}/TEST04/verify_performance.txt", "TEST FAIL\n"),
    )
    r.case("error", "refuses", "T-03", "test04_missing", lambda s: s.delete(f"{r.audits(offline)}/TEST04"))
    test_log = f"{r.audits(offline)}/TEST04/performance/run_1"
    r.case(
        "error" if v5 else "warning",
        dropped,
        "P-03" if v5 else "+audit-errors",
        "test04_with_errors",
        lambda s: s.append(f"{test_log}/mlperf_log_detail.txt", detail_line("e", "bad", error=True)),
    )
    r.case("error", dropped, "P-02", "invalid", lambda s: s.log(run, result_validity="INVALID"))
    r.case(
        "error",
        dropped,
        "P-03",
        "error_in_log",
        lambda s: s.append(detail, detail_line("e", "x", error=True)),
    )
    r.case("error", "refuses", "P-05", "other_seed", lambda s: s.log(run, effective_schedule_rng_seed=1))
    r.case("error", "refuses", "P-06", "short_minimum", lambda s: s.log(run, effective_min_duration_ms=5))
    r.case("error", "refuses", "P-16", "result_zero", lambda s: s.log(run, result_samples_per_second=0))
    r.case("error", "accepts", "P-16", "result_negative", lambda s: s.log(run, result_samples_per_second=-5))
    nan = {"result_samples_per_second": float("nan")}
    r.case("error", "accepts", "P-16", "result_nan", lambda s: s.log(run, **nan))
    r.case("error", "accepts", "P-15", "result_true", lambda s: s.log(run, result_samples_per_second=True))
    early = f"{TIN}/SingleStream/performance/run_1"
    r.case(
        "error", only_v5, "+early-stopping", "not_stopped", lambda s: s.log(early, early_stopping_met=False)
    )
    tokens = f"{LLAMA}/Server/performance/run_1"
    r.case(
        "error",
        "refuses",
        "L-02",
        "first_token_late",
        lambda s: s.log(tokens, **{"result_first_token_99.00_percentile_latency_ns": 2000000000}),
        "box",
    )
    r.case(
        "error",
        dropped,
        "P-02",
        "token_run_invalid",
        lambda s: s.log(tokens, result_validity="INVALID"),
        "box",
    )
    off = {"effective_sample_concatenate_permutation": False}
    equal = "E-10" if v5 else "+equal-issue"
    r.case(
        drop,
        dropped,
        equal,
        "equal_issue_off",
        lambda s: _no_equal_issue(s, r, f"{LLAMA}/Offline", off),
        "box",
    )
    r.case("error", "refuses", "M-05", "scenario_missing", lambda s: _drop(s, r, f"{LLAMA}/Offline"), "box")
    r.case(
        "error",
        "refuses",
        "V-32",
        "no_online",
        lambda s: _drop(s, r, f"{LLAMA}/Server", f"{LLAMA}/Interactive"),
        "box",
    )
    r.case("fine", "accepts", "", "one_online", lambda s: _drop(s, r, f"{LLAMA}/Interactive"), "box")
    r.case(
        "error",
        "refuses",
        "T-12",
        "test06_without_end",
        lambda s: s.write(f"{r.audits(f'{LLAMA}/Server')}/TEST06/verify_accuracy.txt", NO_CHECK),
        "box",
    )
    r.case(
        "error",
        "accepts" if v5 else "crashes",
        "V-11",
        "nodes_two",
        lambda s: s.json(tin, number_of_nodes="two"),
    )
    r.case(
        drop,
        "crashes" if v5 else "accepts",
        "G-07",
        "processor_a_number",
        lambda s: s.json(tin, host_processor_model_name=7),
    )
    r.case("error", "crashes", "V-11", "notes_a_list", lambda s: s.json(tin, sw_notes=["a"]))
    r.case("error", "refuses", "Y-06", "field_null", lambda s: s.json(box, framework=NULL), "box")
    r.case(
        "error",
        "crashes" if v5 else "refuses",
        "D-04",
        "open_scenario_unknown",
        lambda s: _rename(s, r, f"{LAB}/Offline", "Bulk"),
        "lab",
    )
    r.case(
        "error" if v5 else "fine",
        "refuses" if v5 else "accepts",
        "M-08" if v5 else "",
        "open_of_other_type",
        lambda s: s.json("open/Acme/systems/lab.json", system_type="datacenter"),
        "lab",
    )
    image = f"closed/Acme/results/{'box' if v5 else 'tin'}/stable-diffusion-xl/Offline/accuracy/images"
    r.case("error", "refuses", "A-11", "image_missing", lambda s: s.delete(image), "images")
    r.case(drop, dropped, "S-08", "name_with_dot", lambda s: s.write(f"closed/Acme/{r.code}/resnet50/.x", ""))
    r.case(drop, dropped, "S-11", "empty_folder", lambda s: (s.root / f"closed/Acme/{r.code}/e").mkdir())
    r.case(
        "error" if v5 else "warning",
        dropped,
        "+unused-system",
        "system_without_results",
        lambda s: s.copy(tin, "closed/Acme/systems/other.json"),
    )
    no_calibration: Literal["error", "warning", "fine"] = "error" if v5 else "warning"
    r.case(
        no_calibration,
        dropped,
        "V-18" if v5 else "+calibration",
        "no_calibration",
        lambda s: s.delete("closed/Acme/calibration.md"),
    )
    r.case(
        "warning" if v5 else "error",
        "accepts" if v5 else "crashes",
        "+no-results-folder",
        "submitter_without_results",
        lambda s: s.write("closed/Other/README.md", "x"),
    )
    r.case("error", "accepts", "+nothing-to-check", "everything_removed", lambda s: s.delete("closed"))
    tiny = f"accuracy=8.6e-05\n{HASH}"
    r.case("error", "refuses", "A-01", "tiny_accuracy", lambda s: s.write(f"{accuracy}/accuracy.txt", tiny))
    r.case(
        "fine",
        "refuses",
        "",
        "accuracy_with_exponent",
        lambda s: s.write(f"{accuracy}/accuracy.txt", f"accuracy=7.61e+01\n{HASH}"),
    )


def _no_equal_issue(s: Submission, r: _Round, result: str, off: dict[str, bool]) -> None:
    s.write(f"{r.measurements(result)}/mlperf.conf", "*.*.sample_concatenate_permutation = 0\n")
    s.log(f"{result}/performance/run_1", **off)


def _drop(s: Submission, r: _Round, *results: str) -> None:
    for result in results:
        for place in {result, r.measurements(result), r.audits(result)}:
            s.delete(place)


def _rename(s: Submission, r: _Round, result: str, name: str) -> None:
    for place in {result, r.measurements(result)}:
        s.move(place, f"{place.rsplit('/', 1)[0]}/{name}")


def _v6() -> None:
    r = _Round("v6.0", CASES)
    oss, dlrm = "closed/Acme/results/box/gpt-oss-120b", "closed/Acme/results/box/dlrm-v3"
    fail = "TEST FAIL\n"
    for result, test, name in (
        (f"{oss}/Offline", "TEST07", "verify_accuracy.txt"),
        (f"{oss}/Server", "TEST09", "verify_output_len.txt"),
        (f"{dlrm}/Server", "TEST08", "verify_accuracy.txt"),
    ):
        path = f"{result}/{test}/{name}"
        r.case("error", "refuses", "V-43", f"{test.lower()}_failed", _writes(path, fail), "models")
        r.case("error", "refuses", "T-09", f"{test.lower()}_missing", _deletes(path), "models")
        r.case(
            "error",
            "refuses",
            "T-03",
            f"{test.lower()}_folder_missing",
            _deletes(f"{result}/{test}"),
            "models",
        )
    inside = "all is well: TEST PASS or so\n"
    r.case(
        "error",
        "refuses",
        "V-43",
        "test08_inside",
        _writes(f"{dlrm}/Server/TEST08/verify_accuracy.txt", inside),
        "models",
    )
    r.case(
        "fine",
        "accepts",
        "",
        "test07_inside",
        _writes(f"{oss}/Server/TEST07/verify_accuracy.txt", inside),
        "models",
    )
    low = f"metric/lifetime_ne/rating: 0.5\n{HASH}"
    r.case(
        "error",
        "refuses",
        "A-01",
        "dlrm_low",
        _writes(f"{dlrm}/Offline/accuracy/accuracy.txt", low),
        "models",
    )
    yolo = "closed/Acme/results/tin/yolo-95"
    r.case(
        "error",
        "refuses",
        "A-01",
        "yolo_low",
        _writes(f"{yolo}/Offline/accuracy/accuracy.txt", f"mAP=50.0\n{HASH}"),
        "yolo",
    )
    r.case(
        "error",
        "refuses",
        "P-15",
        "yolo_no_metric",
        lambda s: s.log(f"{yolo}/MultiStream/performance/run_1", early_stopping_latency_ms=None),
        "yolo",
    )
    r.case("error", "refuses", "M-04", "unknown_scenario", lambda s: s.copy(f"{TIN}/Offline", f"{TIN}/Bulk"))


def _writes(path: str, text: str) -> Mutation:
    return lambda s: s.write(path, text)


def _deletes(path: str) -> Mutation:
    return lambda s: s.delete(path)


_both("v5.1")
_both("v6.0")
_v6()
