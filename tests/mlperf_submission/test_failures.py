"""The table of failures is complete: LoadGen's messages, our own errors, the rules of the validation."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import mlperf_loadgen
import pytest

from mlperf_submission import errors
from mlperf_submission.failures import (
    Entry,
    diagnose_error,
    diagnose_rule,
    explanation,
    messages_in,
    table,
)
from mlperf_submission.harness.backends.tensorrt.cuda import CudaError, out_of_memory
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
    unknown = [text for text in open_ended if not messages_in(text)]
    signs = " ".join(sign for entry in table().messages for sign in entry.signs)
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
    assert name in [one.id for one in messages_in(summary)]


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
def test_every_kind_of_error_is_known_and_says_what_to_do(kind: type[errors.PipelineError]) -> None:
    entry = table().kinds[kind.__name__]
    assert entry.cause and entry.remedy
    told = explanation(kind("surprise"), said_again)
    assert told.startswith(f"  Cause: {entry.cause}\n  What to do: {entry.remedy}")


def test_a_gpu_that_failed_has_its_code_and_one_that_is_full_has_not() -> None:
    assert CudaError("no answer").codes == ("gpu-failed",)
    assert CudaError("other shapes", code="engine-shape").codes == ("engine-shape",)
    assert out_of_memory("an engine").codes == ()
    assert pickle.loads(pickle.dumps(out_of_memory("an engine"))).codes == ()  # noqa: S301


def test_no_cause_guesses() -> None:
    words = re.compile(r"\b(most often|usually|probably|perhaps|likely|seems|maybe|attempts were made)\b|\?")
    assert [entry.id for entry in entries() if words.search(entry.cause)] == []


def entries() -> list[Entry]:
    """Return all that the table has."""
    known = table()
    return [*known.kinds.values(), *known.codes.values(), *known.messages, *known.rules]


def coded() -> Iterator[tuple[str, bool]]:
    """Yield every code that the program gives to an error or a reason, and whether a remedy stands there."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            for keywords in ({one.arg: one.value for one in call.keywords} for call in calls):
                if "code" in keywords:
                    for one in ast.walk(keywords["code"]):
                        if isinstance(one, ast.Constant) and isinstance(one.value, str):
                            yield one.value, "remedy" in keywords


def test_the_table_has_the_codes_that_errors_carry_and_no_other() -> None:
    assert {code for code, _ in coded()} == set(table().codes)


def test_what_to_do_stands_with_the_error_or_in_the_table() -> None:
    silent = {code for code, has_remedy in coded() if not has_remedy}
    assert silent
    assert [code for code in silent if not table().codes[code].remedy] == []


def test_groups_have_rules_that_exist_and_none_twice() -> None:
    grouped = [rule for group in table().rules for rule in group.rules]
    assert set(grouped) <= {rule.id for rule in all_rules()}
    assert len(set(grouped)) == len(grouped)
    redo = said_again(diagnose_rule("P-06", "").redo)
    assert redo.startswith("performance, accuracy, test01, test04, test05")


def test_a_rule_of_no_group_is_one_of_the_tree() -> None:
    assert diagnose_rule("+new", "").cause == table().kinds["TreeError"].cause


def test_every_entry_names_a_cause_and_known_steps() -> None:
    known = {*PARTS, *(step.name for step in all_steps())}
    for entry in entries():
        assert entry.cause, entry.id
        assert set(entry.redo) <= known, entry.id
    assert all(one.signs and one.remedy for one in table().messages)
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
        "percentile, 15 ms are allowed; early stopping is not satisfied: Run unsuccessful.",
        code="latency-over-limit",
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
    error = errors.SourceError("it is another file", remedy="fetch it anew", code="data-set")
    error.diagnosis = explanation(error, said_again)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert str(copy) == str(error)
    assert copy.codes == ("data-set",)
    assert "Done again: verify_data, preprocess" in str(error)


def test_the_page_of_failures_is_current() -> None:
    assert PAGE.read_text() == page()
