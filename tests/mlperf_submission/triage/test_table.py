"""The table of failures is complete: LoadGen's messages, our own errors, the rules of the validation."""

from __future__ import annotations

import ast
import importlib
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import mlperf_loadgen
import pytest

from mlperf_submission import errors
from mlperf_submission.triage import (
    KNOWN,
    OTHERWISE,
    UNKNOWN,
    diagnose,
    diagnose_error,
    diagnose_rule,
    explanation,
)
from mlperf_submission.triage.rules import RULE_GROUPS
from mlperf_submission.validation.judge import all_rules
from tasks.engine.spec import PARTS, all_steps, made_again, said_again
from tests.conftest import ROOT
from tools.failure_pages import PAGE, page

ROOMS = ("cli", "flows", "mlperf_submission", "models", "tasks")
NO_FAILURE = re.compile(
    r"""
      Ending\ naturally:                      # what a good run says
    | ^No\ (warnings|errors)\ encountered
    | ^\*\ Run\ successful
    | ^percentile\ estimate:|th\ percentile
    | ^FindPeakPerformance:\ Found|^FindBoundaries:|^FindPeakPerformanceBinarySearch:|^Starting\ FindPeak
    | ^Loadgen\ ::                            # clock readings
    | ^\*\ Processed\ at\ least|^queries\ \(|total\ queries\)|Would\ discard|highest\ latency
    | [:=]$                                   # labels of values
    | ^[\W\d]*"                               # pieces of JSON
    | ^=+\ |^(SUT\ name|Scenario|Mode)\ *:
    | ^\#\ The\ format                        # the compiled-in mlperf.conf
    | ^vector::|^Registered\ IssueQueryThread|^threads\ registered|^Starting\ (accuracy|performance)\ mode
    """,
    re.VERBOSE,
)
PIECES = (
    "more queries, with the run being successful if every additional query were under latency.",
    "queries for early stopping.",
    "* Early stopping",
    "cannot be true at the same time.",
    "cannot be greater than loaded performance_sample_count.",
)
"""Second halves of messages whose first halves are known."""
SAID_INSIDE = {
    "X is X, not X",
    "X is X",
    "X: X",
    "round X has no X",
    "the server answers X",
    "the accuracy of X is not enough: X",
    "X of X failed: XX",
    "the X is INVALID: XX",
    "the tree is refused: X",
    "the child process X ended with X: X",
}
"""Texts whose varying parts say what happened; those parts are looked up."""


def loadgen_messages() -> list[str]:
    """Return the sentences in LoadGen's library: what stands between its first and last own texts."""
    library = Path(mlperf_loadgen.__file__).read_bytes()
    found: list[str] = []
    for first, last in (
        (b"Mismatch between settings and number", b"WARNING: sample_concatenate_permutation"),
        (b"IssueQueryThread \0", b"print_timestamps : "),
    ):
        begin = library.index(first)
        part = library[begin : library.index(b"\0", library.index(last, begin)) + 1]
        texts = [text.decode("ascii", "replace") for text in part.split(b"\0") if len(text) > 8]
        found += [" ".join(text.split()) for text in texts]
    return [text for text in found if len(re.findall(r"[A-Za-z]{2,}", text)) >= 2 and " " in text]


def test_loadgens_library_was_read_whole() -> None:
    messages = loadgen_messages()
    for text in ("Early stopping satisfied", "Ran out of generated queries", "larger (coalesced) query"):
        assert any(text in message for message in messages)


def test_every_message_of_loadgen_is_known() -> None:
    open_ended = [text for text in loadgen_messages() if not NO_FAILURE.search(text)]
    assert len(open_ended) > 40
    unknown = [text for text in open_ended if diagnose(text) == (UNKNOWN,)]
    signs = " ".join(sign for entry in KNOWN for sign in entry.signs)
    assert [text for text in unknown if text not in signs and text not in PIECES] == []


@pytest.mark.parametrize(
    ("summary", "name"),
    [
        ("Result is : INVALID", "result-invalid"),
        ("  Min duration satisfied : NO", "min-duration"),
        ("  Min queries satisfied : NO", "min-duration"),
        ("  Early stopping satisfied: NO", "early-stopping"),
        ("  Performance constraints satisfied : NO", "performance-constraints"),
        (
            " * Run unsuccessful.\n * Processed 736 queries.\n * Would need to run at least 421",
            "early-stopping",
        ),
    ],
)
def test_every_condition_of_the_summary_is_known(summary: str, name: str) -> None:
    assert name in [one.name for one in diagnose(summary)]


def kinds_of_errors() -> list[type[errors.PipelineError]]:
    """Return every error of the project."""
    waiting, found = [errors.PipelineError], []
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            found.append(kind)
    return found


@pytest.mark.parametrize(
    "kind", [kind for kind in kinds_of_errors() if kind.__module__ == "mlperf_submission.errors"]
)
def test_every_kind_of_error_has_an_entry(kind: type[errors.PipelineError]) -> None:
    assert any(kind.__name__ in entry.kinds for entry in OTHERWISE)
    assert "unknown" not in explanation(kind("a text that no sign has"), said_again)


def test_no_cause_guesses() -> None:
    words = re.compile(r"\b(most often|usually|probably|perhaps|likely|seems|maybe|attempts were made)\b|\?")
    assert [entry.id for entry in (*KNOWN, *OTHERWISE) if words.search(entry.cause)] == []


def raised_texts() -> Iterator[tuple[str, str, str, bool]]:
    """Yield place, kind and text of every error that the code makes with a text of its own."""
    importlib.import_module("mlperf_submission.harness.backends.tensorrt.cuda")  # it has a kind of its own
    names = {
        kind.__name__: next(
            base.__name__ for base in kind.__mro__ if base.__module__ == "mlperf_submission.errors"
        )
        for kind in kinds_of_errors()
        if kind is not errors.SettingError
    }
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name)):
                    continue
                text = " ".join(_text(node.args[0]).split())
                if node.func.id in names and len(text) > 3:
                    says_what_to_do = any(keyword.arg == "remedy" for keyword in node.keywords)
                    yield (
                        f"{path.relative_to(ROOT)}:{node.lineno}",
                        names[node.func.id],
                        text,
                        says_what_to_do,
                    )


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


def test_every_error_that_the_code_raises_says_what_to_do_or_is_known_by_its_text() -> None:
    unknown = [
        f"{place} {kind}: {text}"
        for place, kind, text, has_remedy in raised_texts()
        if not has_remedy
        and not any(entry.is_for(kind) and entry.knows(text) for entry in KNOWN)
        and text not in SAID_INSIDE
    ]
    assert unknown == []


def test_every_rule_is_in_one_group() -> None:
    grouped = [rule for group in RULE_GROUPS for rule in group.rules]
    assert sorted(grouped) == sorted(rule.id for rule in all_rules())
    redo = said_again(diagnose_rule("P-06", "").redo)
    assert redo.startswith("performance, accuracy, test01, test04, test05")


def test_every_entry_says_everything_and_names_known_steps() -> None:
    entries = (*KNOWN, *OTHERWISE)
    known = {*PARTS, *(step.name for step in all_steps())}
    assert len({entry.id for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.cause and entry.remedy, entry.id
        assert set(entry.redo) <= known, entry.id
        assert all(hasattr(errors, kind) for kind in entry.kinds), entry.id
    assert all({*step.takes} <= known for step in all_steps())


def test_what_is_made_of_a_step_is_done_again_with_it() -> None:
    def again(step: str) -> list[str]:
        return [spec.name for spec in made_again([step])]

    runs = ["performance", "accuracy", "test01", "test04", "test05"]
    delivered = ["package", "validate", "report", "upload"]
    assert again("build_engine") == ["build_engine", "probe", "search", *runs, *delivered]
    assert again("test04") == ["test04", *delivered]
    assert again("accuracy") == ["accuracy", "test01", *delivered]
    assert again("audits") == [*runs[2:], *delivered]


def test_several_reasons_in_one_message_are_all_looked_up() -> None:
    error = errors.InvalidRunError(
        "the performance of resnet50 Server is INVALID: the latency is over the limit: 40 ms at the 99th "
        "percentile, 15 ms are allowed; early stopping is not satisfied: Run unsuccessful."
    )
    assert [one.name for one in diagnose_error(error)] == ["latency-over-limit", "early-stopping"]


def test_a_refused_tree_is_looked_up_by_its_rules() -> None:
    error = errors.TreeError(
        "the tree is refused: M-05 closed/a/results/b: missing; +summary closed/c: differ"
    )
    assert [one.name for one in diagnose_error(error)] == ["M-05", "+summary"]


def test_a_loadgen_message_says_more_than_the_rule_that_found_it() -> None:
    plain, told = diagnose_rule("P-03", ""), diagnose_rule("P-03", "Attempted to complete a sample twice.")
    assert "target_qps" in plain.cause
    assert "answered twice" in told.cause


def test_what_nobody_knows_is_said_to_be_unknown_with_the_place_of_the_evidence() -> None:
    text = explanation(KeyError("surprise"), said_again)
    assert "Cause: unknown" in text
    assert "work/cache/failed/" in text


def test_an_error_shows_its_diagnosis_and_keeps_it_over_a_process_border() -> None:
    error = errors.DiskFullError("the disk is full", remedy="free some space")
    error.diagnosis = explanation(error, said_again)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert str(copy) == str(error)
    assert str(error).endswith("Done again: the step that failed, and what comes after it")


def test_the_page_of_failures_is_current() -> None:
    assert PAGE.read_text() == page()
