"""What is known of a failure: its cause, the remedy, and what has to be done again (`failures.toml`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mlperf_submission.errors import AuditError, InvalidRunError, PipelineError, StepFailedError, TreeError

TABLE = Path(__file__).with_name("failures.toml")
ANY = "…"
"""Stands for any text in a sign."""
EVIDENCE = (
    "The traceback is in the log of the flow run and in reason.txt of the newest folder below "
    "work/cache/failed/, which holds what the step left."
)
_SAYS_WHAT_OTHERS_SAID = (InvalidRunError, AuditError, StepFailedError)
"""The errors whose text may hold messages of LoadGen, CUDA or the kernel."""
_RULE = re.compile(r"(?<![\w+-])(?:[A-Z]-\d\d|\+[a-z][a-z-]*[a-z])(?![\w-])")


@dataclass(frozen=True)
class Diagnosis:
    """What is known of one failure.

    Attributes:
        name: the kind, code, message or rule that it is known by; empty if the failure is unknown.
        cause: why it happened.
        remedy: what to do about it; empty where that stands with the failure itself.
        redo: the first steps that have to be done again, as of `Entry`; `tasks.engine.spec` has the rest.
    """

    name: str
    cause: str
    remedy: str
    redo: tuple[str, ...] = ()


UNKNOWN = Diagnosis(
    "", f"unknown: the table of failures does not know it. {EVIDENCE}", "Look at the evidence."
)


@dataclass(frozen=True)
class Entry:
    """One entry of the table.

    Attributes:
        id: the name of the kind, code or message; the title of a group of rules.
        cause: why it happens.
        remedy: what a person can do about it, where the failure does not say so itself.
        redo: the first steps, or parts of a run, that have to be done again (`tasks.engine.spec`); those made
            of them follow by themselves. None: no finished step, only the one that failed.
        signs: texts of others that show it, with `…` for what varies.
        rules: ids of rules of the validation that fail for this reason; of a rule in no group, its own remedy
            is all that is said.
    """

    id: str
    cause: str
    remedy: str = ""
    redo: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(re.escape(sign).replace(ANY, ".*?")) for sign in self.signs)

    def knows(self, text: str) -> bool:
        """Whether a text, its blanks and line breaks made single blanks, holds one of the signs."""
        return any(pattern.search(text) for pattern in self._patterns)

    @property
    def diagnosis(self) -> Diagnosis:
        """What the entry says."""
        return Diagnosis(self.id, self.cause, self.remedy, self.redo)


@dataclass(frozen=True)
class Table:
    """The file: entries by the class of an error, by its code, of messages and of rules."""

    kinds: Mapping[str, Entry]
    codes: Mapping[str, Entry]
    messages: tuple[Entry, ...]
    rules: tuple[Entry, ...]


@cache
def table() -> Table:
    """Return what `failures.toml` says."""
    content = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return Table(
        kinds={name: _entry(one, name) for name, one in content["kinds"].items()},
        codes={name: _entry(one, name) for name, one in content["codes"].items()},
        messages=tuple(_entry(one, one.pop("id")) for one in content["messages"]),
        rules=tuple(_entry(one, one.pop("title")) for one in content["rules"]),
    )


def _entry(content: Mapping[str, Any], name: str) -> Entry:
    lists = {key: tuple(content[key]) for key in ("redo", "signs", "rules") if key in content}
    return Entry(id=name, **{**content, **lists})


def diagnose_error(error: BaseException) -> tuple[Diagnosis, ...]:
    """Return what is known of an error, most particular first; `UNKNOWN` alone if nothing is."""
    if not isinstance(error, PipelineError):
        return (UNKNOWN,)
    rules = _rules_in(error.what) if isinstance(error, TreeError) and not error.codes else []
    if rules:
        return tuple(dict.fromkeys(diagnose_rule(rule, "") for rule in rules))
    found = [table().codes[code] for code in error.codes]
    if isinstance(error, _SAYS_WHAT_OTHERS_SAID):
        found += messages_in(error.what)
    kinds = table().kinds
    found = found or [kinds[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in kinds][:1]
    return tuple(one.diagnosis for one in found) or (UNKNOWN,)


def messages_in(text: str) -> Sequence[Entry]:
    """Return what is known of the messages of others that a text holds."""
    plain = " ".join(text.split())
    return [one for one in table().messages if one.knows(plain)]


def explanation(error: BaseException, again: Callable[[tuple[str, ...]], str]) -> str:
    """Return the lines that are added to an error's message: why, what to do, what is done again.

    Args:
        error: what was raised.
        again: says in words what is to be done again, given the first steps.
    """
    found = diagnose_error(error)
    says_what_to_do = isinstance(error, PipelineError) and error.remedy
    lines = []
    for one in found:
        lines.append(f"Cause: {one.cause}")
        if one.remedy and not says_what_to_do:
            lines.append(f"What to do: {one.remedy}")
    lines += [f"Done again: {again(redo)}" for redo in dict.fromkeys(one.redo for one in found)]
    return "\n".join(f"  {line}" for line in lines)


def diagnose_rule(rule: str, message: str) -> Diagnosis:
    """Return why a tree breaks a rule; a message of LoadGen in what was found says more than the rule."""
    group = _groups().get(rule, table().kinds[TreeError.__name__])
    said = next(iter(messages_in(message)), group)
    return Diagnosis(rule, said.cause, "", said.redo)


@cache
def _groups() -> Mapping[str, Entry]:
    return {rule: group for group in table().rules for rule in group.rules}


def _rules_in(text: str) -> list[str]:
    return [one for one in dict.fromkeys(_RULE.findall(text)) if one in _groups()]
