"""The accuracy side of TEST01: every byte of every sampled response, and the fallback by score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.compliance.responses import compare_accuracy, compare_with_baseline
from mlperf_submission.errors import LogError, SettingError

LogWriter = Callable[[Path, Iterable[tuple[int, bytes]]], Path]


def test_a_difference_behind_the_first_element_is_found(write_log: LogWriter, tmp_path: Path) -> None:
    accuracy = write_log(tmp_path / "a", [(0, b"\x01\x00\x00\x00\x02"), (1, b"\x03\x00\x00\x00\x04")])
    audit = write_log(tmp_path / "b", [(1, b"\x03\x00\x00\x00\x05"), (0, b"\x01\x00\x00\x00\x02")])
    found = compare_accuracy(accuracy, audit, "int32")
    assert (found.passed, found.mismatches, found.first_element_mismatches) == (False, 1, 0)
    assert found.text.endswith("TEST FAIL\n\n")


def test_long_responses_are_compared_too(write_log: LogWriter, tmp_path: Path) -> None:
    long = bytes(100_000)
    accuracy = write_log(tmp_path / "a", [(0, long)])
    assert compare_accuracy(accuracy, write_log(tmp_path / "b", [(0, long)]), "byte").passed
    assert not compare_accuracy(
        accuracy, write_log(tmp_path / "c", [(0, long[:-1] + b"\x01")]), "byte"
    ).passed
    assert not compare_accuracy(accuracy, write_log(tmp_path / "d", [(0, long[:-1])]), "byte").passed


def test_nothing_to_compare_is_no_pass(write_log: LogWriter, tmp_path: Path) -> None:
    accuracy = write_log(tmp_path / "a", [(0, b"\x01")])
    empty = tmp_path / "b"
    empty.write_text("[\n]\n")
    assert not compare_accuracy(accuracy, empty, "byte").passed
    missing = compare_accuracy(accuracy, write_log(tmp_path / "c", [(7, b"\x01"), (7, b"\x02")]), "byte")
    assert (missing.passed, missing.missing, missing.matched) == (False, 2, 0)


def test_an_accuracy_run_that_contradicts_itself_is_refused(write_log: LogWriter, tmp_path: Path) -> None:
    accuracy = write_log(tmp_path / "a", [(0, b"\x01"), (0, b"\x02"), (0, b"\x01")])
    found = compare_accuracy(accuracy, write_log(tmp_path / "b", [(0, b"\x01")]), "byte")
    assert (found.duplicate_keys, found.duplicate_mismatches, found.passed) == (2, 1, False)


def test_a_truncated_log_and_an_unknown_dtype_are_named(write_log: LogWriter, tmp_path: Path) -> None:
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
    write_log: LogWriter,
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


def test_baseline_holds_only_the_sampled_samples(
    score_labels: Any, write_log: LogWriter, tmp_path: Path
) -> None:
    accuracy = write_log(tmp_path / "a", [(index, index.to_bytes(4, "little")) for index in range(10)])
    audit = write_log(tmp_path / "b", [(3, b"\x03\0\0\0"), (4, b"\x09\0\0\0"), (3, b"\x03\0\0\0")])
    found = compare_with_baseline(accuracy, audit, score_labels, tolerance_percent=lambda _: 1.0)
    assert found.baseline_text == "accuracy=100.000%, good=2, total=2\n"
    assert found.compliance_text == "accuracy=50.000%, good=1, total=2\n"
    assert not found.passed


def test_a_metric_of_zero_cannot_be_compared(score_labels: Any, write_log: LogWriter, tmp_path: Path) -> None:
    log = write_log(tmp_path / "a", [(1, b"\x00\0\0\0")])
    assert not compare_with_baseline(log, log, score_labels, tolerance_percent=lambda _: 1.0).passed
