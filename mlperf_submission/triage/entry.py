"""One line of the table of failures, and what it says about a failure that happened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

AUDITS = ("audits",)
"""A part stands for all steps of it."""
NEW_TARGET = ("performance", "accuracy", *AUDITS)
"""Another `target_qps` or tuning of a result: all of its runs hold its target rate."""
THE_FAILED_STEP: tuple[str, ...] = ()
"""Nothing that is finished has to be done again."""
ANY = "…"
"""Stands for any text in a sign."""


@dataclass(frozen=True)
class Entry:
    """A failure that is known.

    Attributes:
        id: its name, for links and tests.
        signs: texts that show it, with `…` for what varies; none: every failure of its kinds, if no other
            entry knows it.
        cause: why it happens.
        remedy: what a person can do about it.
        redo: the first steps, or parts of a run, that have to be done again (`tasks.engine.spec`); those made
            of them follow by themselves.
        kinds: names of the errors (`mlperf_submission.errors`) that it arrives as; none: any, and LoadGen's
            logs.
    """

    id: str
    signs: tuple[str, ...]
    cause: str
    remedy: str
    redo: tuple[str, ...] = THE_FAILED_STEP
    kinds: tuple[str, ...] = ()

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(re.escape(sign).replace(ANY, ".*?")) for sign in self.signs)

    def is_for(self, kind: str) -> bool:
        """Whether a failure of this kind can be this one."""
        return not self.kinds or kind in self.kinds

    def knows(self, text: str) -> bool:
        """Whether a text, its blanks and line breaks made single blanks, holds one of the signs."""
        return any(pattern.search(text) for pattern in self._patterns)


@dataclass(frozen=True)
class RuleGroup:
    """Rules of the validation that fail for one reason; what to do about each stands with the rule.

    Attributes:
        title: what the rules are about.
        rules: their ids.
        cause: why a tree of this pipeline would break them.
        redo: as of `Entry`.
    """

    title: str
    rules: tuple[str, ...]
    cause: str
    redo: tuple[str, ...]
