"""Section 11: the accuracy run (A). Open forgives the content of accuracy.txt (A-12)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.rounds import RunKind
from mlperf_submission.submission.accuracy import SMALL_BYTES
from mlperf_submission.validation.frames import Accuracy, Files, Metrics, Readings, Results, Runs
from mlperf_submission.validation.rules import Rule, catalogue, fits, holds_exactly

PERCENTAGES = ("acc", "mAP", "F1", "AUC")
_SCRIPT = "Write accuracy.txt with the model's accuracy script."
_TRUNCATE = "Truncate the accuracy log with the official script, which writes the line."
_ALL_SAMPLES = "Run the accuracy run on all samples."


def _read(d: pd.DataFrame) -> pd.Series[bool]:
    return d.closed & d.is_read


def _accuracy_run(d: pd.DataFrame) -> pd.Series[bool]:
    return d.kind == RunKind.ACCURACY


RULES = catalogue(
    {
        "A-01": Rule(
            Metrics.where(_read),
            "Every target metric reaches its floor (the reference times 0.99, 0.999 or 0.9).",
            passes=lambda d: ~(d.number < d.few_floor),
            each="{metric} {text} < {floor:g}",
            joint="; ",
            message="below the target: {each}",
            remedy="Raise the accuracy (calibration, precision) and run accuracy and performance again.",
        ),
        "+totals": Rule(
            Metrics.where(lambda d: _read(d) & (d.number >= d.few_floor)),
            "A total over the samples (GEN_LEN) is over the whole data set, and reaches its floor.",
            passes=lambda d: d.number >= d.floor,
            each="{metric} {text} < {floor:g}",
            joint="; ",
            message="below the target, of fewer samples than the data set has: {each}",
            why="A-01 judges the total, whatever the number of samples; the mean per sample reaches it here.",
            remedy=_ALL_SAMPLES,
            severity="error",
            in_rehearsal="totals over fewer samples than the data set has",
        ),
        "A-02": Rule(
            Metrics.where(lambda d: d.closed & d.readable),
            "All target metrics of the model stand in accuracy.txt, in the format of the official scripts.",
            passes=lambda d: d.number.notna(),
            each="{metric}",
            message="not found: {each}",
            remedy="Write accuracy.txt with the model's accuracy script; A-04 says how lines are read.",
        ),
        "A-03": Rule(
            Metrics.where(_read),
            "No metric is above its ceiling (tokens per sample, CLIP, FID).",
            passes=lambda d: ~(d.number > d.ceiling),
            each="{metric} {text} > {ceiling:g}",
            joint="; ",
            message="above the ceiling: {each}",
            remedy="See that outputs are neither padded nor too long.",
        ),
        "A-04": Rule(
            Readings.where(role="accuracy"),
            "accuracy.txt is UTF-8 text, and its metrics are numbers.",
            passes=lambda d: d.readable,
            message="{problem}",
            why="The official checker crashes on it.",
            remedy=_SCRIPT,
        ),
        "A-05": Rule(
            Accuracy.where(lambda d: d.closed & d.readable),
            "A line of accuracy.txt is `hash=` and the hash of the full accuracy log.",
            passes=lambda d: d.digest != "",
            message="there is no hash line",
            remedy=_TRUNCATE,
        ),
        "A-06": Rule(
            Results,
            "accuracy/accuracy.txt exists.",
            passes=lambda d: d.has_accuracy_txt,
            message="accuracy/accuracy.txt is missing",
            why="The official checker refuses the result, in open too.",
            remedy="Run the accuracy script on the accuracy log.",
        ),
        "A-07": holds_exactly(
            Files.where(folder="accuracy"),
            "`accuracy` holds exactly summary, detail log, accuracy.txt and mlperf_log_accuracy.json; the "
            "trace and results.json may lie there.",
            message="accuracy: {each}",
            why="The official checker refuses the result, in open too.",
        ),
        "A-08": Rule(
            Results.where(lambda d: d.needs_truncation),
            "mlperf_log_accuracy.json is there, and truncated to at most 10,240 bytes.",
            passes=lambda d: d.accuracy_log_size.between(0, SMALL_BYTES),
            message=lambda row: (
                f"mlperf_log_accuracy.json has {row['accuracy_log_size']} bytes"
                if row["accuracy_log_size"] >= 0
                else "mlperf_log_accuracy.json is missing"
            ),
            remedy="Truncate the accuracy log with the official script, and keep the full one.",
        ),
        "A-09": Rule(
            Runs.where(_accuracy_run),
            "The log of the accuracy run holds no message that LoadGen marks as an error.",
            passes=lambda d: ~d.errors_count | (d.error_count == 0),
            message="{error_count} errors, the first: {first_error}",
            remedy="Mend what the message says and run again.",
        ),
        "A-10": Rule(
            Readings.where(role="accuracy log"),
            "The log of the accuracy run can be read (P-13).",
            passes=lambda d: d.readable,
            message="{problem}",
            why="The official checker crashes on it.",
            remedy="Take LoadGen's own file; it must not be edited.",
        ),
        "A-11": Rule(
            Files.where(folder="proof"),
            "stable-diffusion-xl keeps the ten images of the round (later rounds: wan-2.2 its ten videos); "
            "up to v5.1 open need not.",
            passes=fits,
            message="missing in accuracy: {each}",
            remedy="Add the files that the accuracy script wrote.",
        ),
        "+open-accuracy": Rule(
            Accuracy.where(lambda d: ~d.closed),
            "An open result says its accuracy, with a hash.",
            passes=lambda d: (d.value != "") & (d.digest != ""),
            message=lambda row: (
                "there is no hash line" if row["value"] else "accuracy.txt has no target metric"
            ),
            why="The checker forgives open whatever accuracy.txt holds (A-12), and readers look at it.",
            remedy="Write accuracy.txt with the model's accuracy script, and truncate the log.",
            covers="nothing",
        ),
        "+unread-accuracy": Rule(
            Metrics.where(lambda d: ~d.is_read),
            "No line of accuracy.txt contradicts the others.",
            passes=lambda d: ~((d.number < d.floor) | (d.number > d.ceiling)),
            each=lambda row: (
                f"{row['metric']} {row['text']} "
                + (f"< {row['floor']:g}" if row["number"] < row["floor"] else f"> {row['ceiling']:g}")
            ),
            joint="; ",
            message="a line that the checker does not read fails: {each}",
            why="The checker stops to read as soon as all metrics have passed and the hash was seen (A-04).",
            remedy="Keep the lines of one run.",
        ),
        "+impossible-accuracy": Rule(
            Metrics.where(lambda d: d.metric.isin(PERCENTAGES)),
            "A percentage is at most 100.",
            passes=lambda d: ~(d.number > 100),
            each="{metric}={text}",
            message="impossible: {each}",
            why="The checker has no upper bound (A-04).",
            remedy=_SCRIPT,
        ),
        "+accuracy-number": Rule(
            Metrics,
            "A metric of accuracy.txt is a decimal number with a point, and nothing stands right behind it.",
            passes=lambda d: d.rest == "",
            each="{metric} is {text}{rest}, of which {text} is read",
            joint="; ",
            message="{each}",
            why="The checker takes the digits that it knows, and no more: 0x4C is 0 and 76,1 is 76 (A-04).",
            remedy=_SCRIPT,
        ),
        "+hash": Rule(
            Accuracy.where(lambda d: d.digest != ""),
            "The hash line holds a SHA-256: 64 hexadecimal digits.",
            passes=lambda d: d.digest.str.fullmatch("[0-9a-fA-F]{64}"),
            message="the hash is {digest!r}",
            why="The checker takes any word (A-05).",
            remedy=_TRUNCATE,
            covers="nothing",
        ),
        "+accuracy-mode": Rule(
            Runs.where(_accuracy_run),
            "The log in `accuracy` is of an accuracy run.",
            passes=lambda d: d.effective_test_mode.isin(["", "AccuracyOnly", "SubmissionRun"]),
            message="effective_test_mode is {effective_test_mode}",
            why="The checker reads nothing but errors there, so the performance log passes (X-06).",
            remedy="Put the log of the accuracy run there.",
        ),
        "+accuracy-samples": Rule(
            Runs.where(lambda d: _accuracy_run(d) & d.readable),
            "The accuracy run covers the whole data set.",
            passes=lambda d: (
                (d.accuracy_samples == d.min_accuracy_samples)
                | (d.accuracy_samples.isna() & ~d.must_count_samples)
            ),
            message="the library has {accuracy_samples:g} samples, the data set {min_accuracy_samples:g}",
            why="v4.1 does not look (X-06); later rounds refuse (V-06).",
            remedy=_ALL_SAMPLES,
            in_rehearsal="accuracy runs on fewer samples than the data set has",
        ),
    }
)
