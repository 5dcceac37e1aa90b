"""Times of a log: `test_datetime` is local time with a Z, `power_begin` and `power_end` are UTC."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.submission.detail_log import DetailLog, read_detail
from mlperf_submission.submission.times import Span, moment, overlaps, run_span, timed_span

BEGIN = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
"""Half an hour before summer time ends in Berlin."""


def write_log(path: Path, begin: datetime, zone_hours: int, *, written: float = 601_000.0) -> DetailLog:
    """Write the log of a run of 600 s on a machine in a zone, begun a second before the timed part."""
    local = begin - timedelta(seconds=1) + timedelta(hours=zone_hours)
    messages = [
        ("test_datetime", f"{local:%Y-%m-%dT%H:%M:%SZ}", 0.1),
        ("power_begin", f"{begin:%m-%d-%Y %H:%M:%S.000}", written),
        ("power_end", f"{begin + timedelta(seconds=600):%m-%d-%Y %H:%M:%S.000}", written),
        ("result_validity", "VALID", written + 500),
    ]
    metadata = {"is_error": False, "is_warning": False, "file": "x.cc", "line_no": 1, "pid": 1, "tid": 1}
    lines = [
        {
            "key": key,
            "value": value,
            "time_ms": time,
            "namespace": "n",
            "event_type": "E",
            "metadata": metadata,
        }
        for key, value, time in messages
    ]
    path.write_text("".join(f":::MLLOG {json.dumps(line)}\n" for line in lines))
    return read_detail(path)


@pytest.mark.parametrize("zone_hours", [-8, 0, 2, 9])
def test_a_run_is_told_in_utc_whatever_the_zone_of_its_machine(tmp_path: Path, zone_hours: int) -> None:
    log = write_log(tmp_path / "log.txt", BEGIN, zone_hours)
    assert timed_span(log) == Span(BEGIN, BEGIN + timedelta(seconds=600))
    assert run_span(log) == Span(BEGIN - timedelta(seconds=1), BEGIN + timedelta(seconds=600.5))
    assert log.lines == {"test_datetime": 1, "power_begin": 2, "power_end": 3, "result_validity": 4}


def test_runs_across_the_end_of_summer_time_do_not_overlap(tmp_path: Path) -> None:
    second_begin = BEGIN + timedelta(minutes=40)
    first = write_log(tmp_path / "first.txt", BEGIN, 2)
    second = write_log(tmp_path / "second.txt", second_begin, 1)
    assert str(second.values["test_datetime"]) < str(first.values["test_datetime"])  # local time went back
    spans = [("first", run_span(first)), ("second", run_span(second))]
    assert not list(overlaps((name, span) for name, span in spans if span))


def test_a_log_without_times_or_with_wrapped_ones_says_nothing(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.txt", BEGIN, 0, written=18446744073620.72)
    assert run_span(log) is None
    (tmp_path / "empty.txt").write_text("")
    assert run_span(read_detail(tmp_path / "empty.txt")) is None
    assert timed_span(read_detail(tmp_path / "empty.txt")) is None
    assert moment("soon") is None


spans = st.lists(st.tuples(st.integers(0, 10_000), st.integers(2, 900)), max_size=12)


@given(spans)
def test_an_overlap_is_found_exactly_if_two_spans_share_more_than_a_second(
    pairs: list[tuple[int, int]],
) -> None:
    made = [
        (str(at), Span(BEGIN + timedelta(seconds=begin), BEGIN + timedelta(seconds=begin + length)))
        for at, (begin, length) in enumerate(pairs)
    ]
    second = timedelta(seconds=1)
    wanted = any(
        one.begin < other.end - second and other.begin < one.end - second
        for at, one in made
        for number, other in made
        if at < number
    )
    assert bool(list(overlaps(made))) == wanted
