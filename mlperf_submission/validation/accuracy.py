"""Section 11: the accuracy run (A). Open forgives the content of accuracy.txt (A-12)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.rounds import RunKind
from mlperf_submission.validation.rows_accuracy import AccuracyRow
from mlperf_submission.validation.rows_result import ResultRow
from mlperf_submission.validation.rows_run import RunRow
from mlperf_submission.validation.rules import Rule

LARGEST_LOG = 10 * 1024

RULES = (
    Rule(
        id="A-01",
        row=AccuracyRow,
        what="Every target metric reaches its floor (the reference times 0.99, 0.999 or 0.9).",
        why="The official checker refuses the result.",
        remedy="Raise the accuracy (calibration, precision) and run accuracy and performance again.",
        passes=lambda d: ~d.closed | (d.below == ""),
        message=lambda row: f"below the target: {row.below}",
    ),
    Rule(
        id="+totals",
        row=AccuracyRow,
        what="A total over the samples (GEN_LEN) is over the whole data set, and reaches its floor.",
        why="A-01 judges the total, whatever the number of samples; the mean per sample reaches it here.",
        remedy="Run the accuracy run on all samples.",
        passes=lambda d: ~d.closed | (d.short == ""),
        message=lambda row: f"below the target, of fewer samples than the data set has: {row.short}",
        in_rehearsal=lambda _: "totals over fewer samples than the data set has",
    ),
    Rule(
        id="A-02",
        row=AccuracyRow,
        what="All target metrics of the model stand in accuracy.txt, in the format of the official scripts.",
        why="The official checker refuses the result.",
        remedy="Write accuracy.txt with the model's accuracy script; A-04 says how lines are read.",
        passes=lambda d: ~d.closed | (d.problem != "") | (d.unseen == ""),
        message=lambda row: f"not found: {row.unseen}",
    ),
    Rule(
        id="A-03",
        row=AccuracyRow,
        what="No metric is above its ceiling (tokens per sample, CLIP, FID).",
        why="The official checker refuses the result.",
        remedy="See that outputs are neither padded nor too long.",
        passes=lambda d: ~d.closed | (d.above == ""),
        message=lambda row: f"above the ceiling: {row.above}",
    ),
    Rule(
        id="A-04",
        row=AccuracyRow,
        what="accuracy.txt is UTF-8 text, and its metrics are numbers.",
        why="The official checker crashes on it.",
        remedy="Write accuracy.txt with the model's accuracy script.",
        passes=lambda d: d.problem == "",
        message=lambda row: row.problem,
    ),
    Rule(
        id="A-05",
        row=AccuracyRow,
        what="A line of accuracy.txt is `hash=` and the hash of the full accuracy log.",
        why="The official checker refuses the result.",
        remedy="Truncate the accuracy log with the official script, which writes the line.",
        passes=lambda d: ~d.closed | (d.problem != "") | d.has_hash,
        message=lambda _: "there is no hash line",
    ),
    Rule(
        id="A-06",
        row=ResultRow,
        what="accuracy/accuracy.txt exists.",
        why="The official checker refuses the result, in open too.",
        remedy="Run the accuracy script on the accuracy log.",
        passes=lambda d: d.accuracy_txt,
        message=lambda _: "accuracy/accuracy.txt is missing",
    ),
    Rule(
        id="A-07",
        row=ResultRow,
        what="`accuracy` holds exactly summary, detail log, accuracy.txt and mlperf_log_accuracy.json; the "
        "trace and results.json may lie there.",
        why="The official checker refuses the result, in open too.",
        remedy="Add what is missing and delete what is too many (marked with a plus).",
        passes=lambda d: ~d.accuracy_txt | (d.accuracy_files == ""),
        message=lambda row: f"accuracy: {row.accuracy_files}",
    ),
    Rule(
        id="A-08",
        row=ResultRow,
        what="mlperf_log_accuracy.json is there, and truncated to at most 10,240 bytes.",
        why="The official checker refuses the result.",
        remedy="Truncate the accuracy log with the official script, and keep the full one.",
        passes=lambda d: ~d.needs_truncation | d.accuracy_log_size.between(0, LARGEST_LOG),
        message=lambda row: (
            f"mlperf_log_accuracy.json has {row.accuracy_log_size} bytes"
            if row.accuracy_log_size >= 0
            else "mlperf_log_accuracy.json is missing"
        ),
    ),
    Rule(
        id="A-09",
        row=RunRow,
        what="The log of the accuracy run holds no message that LoadGen marks as an error.",
        why="The official checker refuses the result.",
        remedy="Mend what the message says and run again.",
        passes=lambda d: ~_accuracy(d) | ~d.errors_count | (d.error_count == 0),
        message=lambda row: f"{row.error_count:g} errors, the first: {row.first_error}",
    ),
    Rule(
        id="A-10",
        row=RunRow,
        what="The log of the accuracy run can be read (P-13).",
        why="The official checker crashes on it.",
        remedy="Take LoadGen's own file; it must not be edited.",
        passes=lambda d: ~_accuracy(d) | (d.damage == ""),
        message=lambda row: row.damage,
    ),
    Rule(
        id="A-11",
        row=ResultRow,
        what="stable-diffusion-xl keeps the ten images of the round (later rounds: wan-2.2 its ten videos); "
        "up to v5.1 open need not.",
        why="The official checker refuses the result.",
        remedy="Add the files that the accuracy script wrote.",
        passes=lambda d: d.proof_missing == "",
        message=lambda row: f"missing in accuracy: {row.proof_missing}",
    ),
    Rule(
        id="+open-accuracy",
        row=AccuracyRow,
        what="An open result says its accuracy, with a hash.",
        why="The checker forgives open whatever accuracy.txt holds (A-12), and readers look at it.",
        remedy="Write accuracy.txt with the model's accuracy script, and truncate the log.",
        passes=lambda d: d.closed | ((d.value != "") & d.has_hash),
        message=lambda row: "accuracy.txt has no target metric" if not row.value else "there is no hash line",
        severity="warning",
        covers="nothing",
    ),
    Rule(
        id="+unread-accuracy",
        row=AccuracyRow,
        what="No line of accuracy.txt contradicts the others.",
        why="The checker stops to read as soon as all metrics have passed and the hash was seen (A-04).",
        remedy="Keep the lines of one run.",
        passes=lambda d: d.unread_failures == "",
        message=lambda row: f"a line that the checker does not read fails: {row.unread_failures}",
        severity="warning",
    ),
    Rule(
        id="+impossible-accuracy",
        row=AccuracyRow,
        what="A percentage is at most 100.",
        why="The checker has no upper bound (A-04).",
        remedy="Write accuracy.txt with the model's accuracy script.",
        passes=lambda d: d.impossible == "",
        message=lambda row: f"impossible: {row.impossible}",
        severity="warning",
    ),
    Rule(
        id="+hash",
        row=AccuracyRow,
        what="The hash line holds a SHA-256: 64 hexadecimal digits.",
        why="The checker takes any word (A-05).",
        remedy="Truncate the accuracy log with the official script, which writes the line.",
        passes=lambda d: ~d.has_hash | d["hash"].str.fullmatch("[0-9a-fA-F]{64}"),
        message=lambda row: f"the hash is {row.hash!r}",
        severity="warning",
        covers="nothing",
    ),
    Rule(
        id="+accuracy-mode",
        row=RunRow,
        what="The log in `accuracy` is of an accuracy run.",
        why="The checker reads nothing but errors there, so the performance log passes (X-06).",
        remedy="Put the log of the accuracy run there.",
        passes=lambda d: ~_accuracy(d) | d.test_mode.isin(["", "AccuracyOnly", "SubmissionRun"]),
        message=lambda row: f"effective_test_mode is {row.test_mode}",
        severity="warning",
    ),
    Rule(
        id="+accuracy-samples",
        row=RunRow,
        what="The accuracy run covers the whole data set.",
        why="v4.1 does not look (X-06); later rounds refuse (V-06).",
        remedy="Run the accuracy run on all samples.",
        passes=lambda d: (
            ~_accuracy(d)
            | ~d.exists
            | (d.damage != "")
            | (d.total_samples.isna() & ~d.must_count_samples)
            | (d.total_samples == d.needed_total_samples)
        ),
        message=lambda row: (
            f"the library has {row.total_samples:g} samples, the data set {row.needed_total_samples:g}"
        ),
        severity="warning",
        in_rehearsal=lambda _: "accuracy runs on fewer samples than the data set has",
    ),
)


def _accuracy(frame: pd.DataFrame) -> pd.Series[bool]:
    return frame.kind == RunKind.ACCURACY
