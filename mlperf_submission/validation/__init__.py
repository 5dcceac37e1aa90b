"""The official rules of a submission as pandera schemas over data frames, and what they let pass.

    from mlperf_submission.validation import validate_tree
    verdict = validate_tree(Path("submission"), "v4.1")

Every rule is a `Rule` in the file of its section, with the id of the rule catalogue; `docs/rules.md` has
all of them. Importing this package is cheap; pandas and pandera are loaded by the first validation.
"""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.validation.verdict import Failure, ResultVerdict, Severity, Verdict

__all__ = ["Failure", "ResultVerdict", "Severity", "Verdict", "validate_tree"]


def validate_tree(root: Path, round_name: str, *, strict: bool = False, rehearsal: bool = False) -> Verdict:
    """Judge a submission tree by the rules of a round. Nothing in the tree can make it fail otherwise.

    Args:
        root: the folder that holds `closed`, `open` or `network`.
        round_name: `v4.1`, …
        strict: report warnings as errors.
        rehearsal: report what a rehearsal cannot keep by design (its length, and what follows from it) as
            warnings.

    Raises:
        SettingError: the round is unknown.
        TreeError: `root` is no folder that can be read.
    """
    from mlperf_submission.validation.judge import judge_tree

    return judge_tree(root, round_name, strict=strict, rehearsal=rehearsal)
