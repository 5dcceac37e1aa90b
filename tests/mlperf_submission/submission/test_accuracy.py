"""accuracy.txt, the targets, and the truncated log."""

from __future__ import annotations

import hashlib
import math
import tracemalloc
from pathlib import Path

import pytest

from mlperf_submission.errors import AccuracyError, LogError
from mlperf_submission.rounds import V4_1, AccuracyTarget, RunKind, Scenario
from mlperf_submission.submission.accuracy import hash_in, judge, truncated, write_accuracy_txt

LINES = ("accuracy=76.078%, good=38039, total=50000",)


def log_of(size: int, folder: Path) -> Path:
    path = folder / "mlperf_log_accuracy.json"
    path.write_bytes(bytes(48 + index % 75 for index in range(size)))
    return path


def test_accuracy_txt_is_the_script_output_and_the_hash_of_the_complete_log(tmp_path: Path) -> None:
    log = log_of(20_000, tmp_path)
    write_accuracy_txt(tmp_path / "accuracy.txt", LINES, log)
    digest = hashlib.sha256(log.read_bytes()).hexdigest()
    text = (tmp_path / "accuracy.txt").read_text()
    assert text == f"{LINES[0]}\nhash={digest}\n"
    assert hash_in(text) == digest


@pytest.mark.parametrize("lines", [(), ("a\nb",), ("hash=abc",)])
def test_lines_that_are_no_score_are_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(AccuracyError):
        write_accuracy_txt(tmp_path / "accuracy.txt", lines, log_of(10, tmp_path))
    assert not (tmp_path / "accuracy.txt").exists()


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot be read"):
        write_accuracy_txt(tmp_path / "accuracy.txt", LINES, tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "found"), [("hash=ab12\nx", "ab12"), ("x\n hash=a\r\n", "a"), ("hash=a b", None)]
)
def test_hash_line_may_stand_anywhere_but_alone(text: str, found: str | None) -> None:
    assert hash_in(text) == found


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (75.6954, ""),
        (76.0, ""),
        (75.69, "below the target 75.6954"),
        (math.nan, "no number"),
        (None, "missing"),
    ],
)
def test_resnet50_is_judged_by_its_official_target(value: float | None, said: str) -> None:
    metrics = {} if value is None else {"acc": value}
    shortfalls = judge(metrics, V4_1.model("resnet50").accuracy)
    assert len(shortfalls) == bool(said)
    assert all(said in one for one in shortfalls)


def test_every_shortfall_is_named_at_once() -> None:
    targets = (AccuracyTarget("F1", 90.0), AccuracyTarget("tokens", 10.0, 12.0), AccuracyTarget("mAP", 1.0))
    shortfalls = judge({"F1": 80.0, "tokens": 12.5, "mAP": 1.0}, targets)
    assert [one.split()[0] for one in shortfalls] == ["F1", "tokens"]
    assert "above the limit 12" in shortfalls[1]


@pytest.mark.parametrize("size", [0, 4, 4096, 9_000, 10_239])
def test_a_small_log_stays_whole(tmp_path: Path, size: int) -> None:
    log = log_of(size, tmp_path)
    assert truncated(log) == log.read_bytes()


@pytest.mark.parametrize("size", [10_240, 10_241, 1_000_000])
def test_a_large_log_is_cut_to_the_official_shape(tmp_path: Path, size: int) -> None:
    log = log_of(size, tmp_path)
    full = log.read_bytes()
    short = truncated(log)
    assert len(short) == 8199
    assert short == full[:4096] + b"\n\n...\n\n" + full[-4096:]


def test_a_log_of_a_gigabyte_takes_little_memory(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stream:  # a hole: takes no space on the disk
        stream.truncate(1 << 30)
    tracemalloc.start()
    try:
        assert len(truncated(log)) == 8199
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_real_accuracy_log_has_the_official_short_form(corpus, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    log = corpus.folder(Scenario.OFFLINE, RunKind.ACCURACY) / "mlperf_log_accuracy.json"
    short = truncated(log).decode()
    assert short.startswith("[\n{ ")
    assert short.endswith("]\n")
    assert len(short) == 8199
