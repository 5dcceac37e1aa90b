"""What is known of a failure: its cause, the remedy, and what has to be done again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlperf_submission.errors import PipelineError
from mlperf_submission.triage.delivering import DELIVERING, OTHERWISE_DELIVERING
from mlperf_submission.triage.entry import Entry
from mlperf_submission.triage.loadgen import LOADGEN
from mlperf_submission.triage.preparing import OTHERWISE_PREPARING, PREPARING
from mlperf_submission.triage.rules import RULE_GROUPS
from mlperf_submission.triage.runs import OTHERWISE_RUNS, RUNS

KNOWN = (*RUNS, *LOADGEN, *PREPARING, *DELIVERING)
"""Every failure that a sign shows; what this pipeline says before what LoadGen says."""
_OF_A_RUN = frozenset({"InvalidRunError", "AuditError"})
"""The errors whose text may hold messages of LoadGen."""
OTHERWISE = (*OTHERWISE_PREPARING, *OTHERWISE_RUNS, *OTHERWISE_DELIVERING)
"""What is said of a failure that no sign shows, by its kind."""
EVIDENCE = (
    "The traceback is in the log of the flow run and in reason.txt of the newest folder below "
    "work/cache/failed/, which holds what the step left."
)
_RULE = re.compile(r"(?<![\w+-])(?:[A-Z]-\d\d|\+[a-z][a-z-]*[a-z])(?![\w-])")
_GROUP_OF = {rule: group for group in RULE_GROUPS for rule in group.rules}


@dataclass(frozen=True)
class Diagnosis:
    """What is known of one failure.

    Attributes:
        name: the entry's id, or the rule's; empty if the failure is unknown.
        cause: why it happened.
        remedy: what to do about it; empty where that stands with the failure itself (rules).
        redo: the first steps that have to be done again, as of `Entry`; `tasks.engine.spec` has the rest.
    """

    name: str
    cause: str
    remedy: str
    redo: tuple[str, ...] = ()


UNKNOWN = Diagnosis(
    "", f"unknown: the table of failures does not know it. {EVIDENCE}", "Look at the evidence."
)


def diagnose(text: str, kinds: Sequence[str] = ()) -> tuple[Diagnosis, ...]:
    """Return what is known of a failure, most particular first; `UNKNOWN` alone if nothing is.

    Args:
        text: what was said of it; several reasons in one text are all looked up.
        kinds: names of the error's class and of those it derives from; none for a text of LoadGen.
    """
    plain = " ".join(text.split())
    if "TreeError" in kinds and (rules := _rules_in(plain)):
        return tuple(dict.fromkeys(diagnose_rule(rule, "") for rule in rules))
    table = KNOWN if not kinds or _OF_A_RUN & {*kinds} else [one for one in KNOWN if one not in LOADGEN]
    found = [one for one in table if _fits(one, kinds) and one.knows(plain)]
    if not found:
        found = [one for one in OTHERWISE if kinds and _fits(one, kinds)][:1]
    return tuple(_of(one) for one in found) or (UNKNOWN,)


def diagnose_error(error: BaseException) -> tuple[Diagnosis, ...]:
    """Return what is known of an error."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return diagnose(error.what if isinstance(error, PipelineError) else str(error), kinds)


def explanation(error: BaseException, again: Callable[[tuple[str, ...]], str]) -> str:
    """Return the lines that are added to an error's message: why, what to do, what is done again.

    Args:
        error: what was raised.
        again: says in words what is to be done again, given the first steps.
    """
    found = diagnose_error(error)
    remedy = error.remedy if isinstance(error, PipelineError) else ""
    lines = []
    for one in found:
        lines.append(f"Cause: {one.cause}")
        if one.remedy and not remedy:
            lines.append(f"What to do: {one.remedy}")
    lines += [f"Done again: {again(redo)}" for redo in dict.fromkeys(one.redo for one in found)]
    return "\n".join(f"  {line}" for line in lines)


def diagnose_rule(rule: str, message: str) -> Diagnosis:
    """Return why a tree breaks a rule; a message of LoadGen in what was found says more than the rule."""
    plain = " ".join(message.split())
    group = _GROUP_OF.get(rule)
    if group is None:
        return UNKNOWN
    said = next((one for one in LOADGEN if plain and one.knows(plain)), None)
    return Diagnosis(rule, said.cause if said else group.cause, "", said.redo if said else group.redo)


def _fits(entry: Entry, kinds: Sequence[str]) -> bool:
    return not kinds or not entry.kinds or any(entry.is_for(kind) for kind in kinds)


def _of(entry: Entry) -> Diagnosis:
    return Diagnosis(entry.id, entry.cause, entry.remedy, entry.redo)


def _rules_in(text: str) -> list[str]:
    return [one for one in dict.fromkeys(_RULE.findall(text)) if one in _GROUP_OF]
