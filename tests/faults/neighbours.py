"""Two flows at once on one host: their measurements never overlap, and each finishes."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from mlperf_submission.steps.cache import StepRecord
from tests.faults.flows import RunningFlow, damaged, is_clear, records, start, system_file, tree_of
from tests.faults.trees import same_but_measured
from tests.faults.trials import Trial

_MEASURING = ("performance", "accuracy", "test01", "test04", "test05")
_END_SECONDS = 3600.0


def two_flow_trials(
    base: Path, *, api: str | None = None, say: Callable[[str], None] = lambda _: None
) -> list[Trial]:
    """Start two flows at once, on the same work folder and on different ones."""
    trials = []
    for what, names in (("the same work folder", ("one", "one")), ("two work folders", ("two", "three"))):
        began, system = time.monotonic(), system_file(base)
        flows = [
            start(system, base / name, base / f"{what.replace(' ', '-')}-{number}.txt", api=api)
            for number, name in enumerate(names)
        ]
        statuses = [flow.wait(_END_SECONDS) for flow in flows]
        lost = [text for flow in flows for text in flow.left_alive()]
        lost += [text for name in set(names) for text in damaged(base / name)]
        lost += [
            f"it ended with {flow.process.returncode}: {flow.text[-500:]}"
            for flow in flows
            if not _good(flow)
        ]
        measured = [one for name in set(names) for one in records(base / name).values()]
        lost += overlaps(measured)
        if not any(statuses):
            lost += same_but_measured(tree_of(base / names[0]), tree_of(base / names[1]))
        trials.append(
            Trial(
                f"two flows at once, {what}",
                "the whole flow",
                not any(statuses),
                tuple(lost),
                time.monotonic() - began,
            )
        )
        say(f"two flows at once, {what}: {statuses}; {'; '.join(lost) or 'nothing lost'}")
    return trials


def _good(flow: RunningFlow) -> bool:
    return flow.process.returncode == 0 or is_clear(flow.text)


def overlaps(measured: list[StepRecord]) -> list[str]:
    """Return which measurements overlapped, by what LoadGen's child noted when it began and ended."""
    spans = sorted(
        (*_span(one), f"{one.step} of {one.folder.parts[-4]}") for one in measured if one.step in _MEASURING
    )
    return [
        f"{second[2]} began {first[1] - second[0]:.2f} s before {first[2]} had ended"
        for first, second in pairwise(spans)
        if second[0] < first[1]
    ]


def _span(record: StepRecord) -> tuple[float, float]:
    """Return when LoadGen began and ended, in seconds: the child's own notes of the host's state."""
    child = record.figures["child"]
    assert isinstance(child, dict)
    times = []
    for moment in ("before", "after"):
        state = child[moment]
        assert isinstance(state, dict)
        times.append(float(str(state["at"])))
    return times[0], times[1]
