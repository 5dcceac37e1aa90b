"""kill -9 of the command's processes at seeded random moments over the whole flow."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from tests.faults.flows import (
    RunningFlow,
    damaged,
    finish,
    is_clear,
    kill,
    records,
    start,
    step_at_work,
    system_file,
    tree_of,
)
from tests.faults.trees import same_but_measured
from tests.faults.trials import Trial

TARGETS = {
    "flow": 5,
    "LoadGen child": 3,
    "child": 1,
    "fork server": 1,
    "Prefect server": 2,
    "S3 server": 2,
}
"""Which process is killed, and how often in relation to the others."""
_SPAN_SECONDS = 12.0
"""A kill comes at a random moment of this long after the first step began (or after the last kill)."""
_STARTING_SHARE = 0.15
"""Share of the kills that come while the command is still starting its servers."""
_STARTING_SECONDS = 8.0
_END_SECONDS = 3600.0
_FIRST_STEP = "about "


def kill_trials(
    count: int,
    seed: int,
    base: Path,
    *,
    servers: Sequence[bool] = (False, False, True),
    targets: Sequence[str] = (),
    span_seconds: float = _SPAN_SECONDS,
    references: Mapping[bool, Path] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Trial]:
    """Kill processes of real runs until there were `count` kills; return what came of each.

    A work folder is hit again and again until its run finishes in spite of it. Then its tree is compared with
    that of an undisturbed run, and a new folder is begun.

    Args:
        count: how many kills.
        seed: of the random moments and targets.
        base: a folder that becomes the work folders' and the output's.
        servers: whether the work folders' runs measure Server beside Offline, in turn.
        targets: which processes are killed, in turn; by default drawn from `TARGETS`.
        span_seconds: a kill comes within so many seconds of work.
        references: the trees of undisturbed runs, without and with Server; by default they are made.
        say: told what was done.
    """
    draw = random.Random(seed)
    chosen = cycle(targets) if targets else _drawn(draw)
    trials: list[Trial] = []
    known = dict(references or {})
    for number, server in enumerate(cycle(servers)):
        system = system_file(base, server=server)
        if server not in known:
            known[server] = tree_of(finish(system, base / f"undisturbed-{system.stem}").work)
        work = base / f"killed-{number}"
        in_folder: list[Trial] = []
        while len(trials) + len(in_folder) < count:
            hits, status = _attempt(
                system, work, draw, chosen, count - len(trials) - len(in_folder), span_seconds
            )
            in_folder += hits
            for hit in hits:
                say(f"{hit.what} ({hit.moment}): {'; '.join(hit.lost) or 'nothing lost'}")
            if status == 0:
                break
        finish(system, work)
        differences = same_but_measured(known[server], tree_of(work)) + damaged(work)
        say(f"{work.name}, hit {len(in_folder)} times: {'; '.join(differences) or 'the undisturbed tree'}")
        if differences and in_folder:
            in_folder[-1] = replace(in_folder[-1], lost=(*in_folder[-1].lost, *differences))
        trials += in_folder
        if len(trials) >= count:
            return trials
    raise AssertionError("a cycle has no end")


def _drawn(draw: random.Random) -> Iterator[str]:
    while True:
        yield draw.choices(list(TARGETS), weights=list(TARGETS.values()))[0]


def _attempt(
    system: Path, work: Path, draw: random.Random, targets: Iterator[str], most: int, span_seconds: float
) -> tuple[list[Trial], int]:
    """Start the command once and kill until it has ended; return the kills and its exit status."""
    flow = start(system, work)
    hits: list[Trial] = []
    while len(hits) < most:
        target, began = next(targets), time.monotonic()
        if not hits and draw.random() < _STARTING_SHARE:
            target = "flow"
            delay = draw.uniform(0, _STARTING_SECONDS)
        else:
            delay = draw.uniform(0, span_seconds)
            _await_first_step(flow)
        _sleep(flow, delay)
        before = records(work)
        victim = flow.await_process(target, 60)
        flow.children()
        if victim is None or flow.process.poll() is not None:
            break
        moment = step_at_work(work)
        if not kill(victim):
            continue
        ends = target in ("flow", "LoadGen child", "child", "fork server")
        lost: list[str] = []
        status = 0
        if ends:
            status = flow.wait(_END_SECONDS)
            lost += flow.left_alive()
            if target != "flow" and status != 0 and not is_clear(flow.text):
                lost.append(f"it ended without a clear message: {flow.text[-500:]}")
        lost += [
            f"{step} was finished and is gone" for step, key in before if (step, key) not in records(work)
        ]
        lost += damaged(work)
        hits.append(
            Trial(f"kill -9 of the {target}", moment, status == 0, tuple(lost), time.monotonic() - began)
        )
        if ends:
            return hits, flow.process.poll() or 0 if target != "flow" else -9
    status = flow.wait(_END_SECONDS)
    left = flow.left_alive()
    if hits and (left or (status != 0 and not is_clear(flow.text))):
        hits[-1] = replace(
            hits[-1], lost=(*hits[-1].lost, *left, f"it ended with {status}: {flow.text[-500:]}")
        )
    if status != 0:
        hits = [replace(hit, went_on=False) for hit in hits]
    return hits, status


def _await_first_step(flow: RunningFlow) -> None:
    while _FIRST_STEP not in flow.text and flow.process.poll() is None:
        flow.children()
        time.sleep(0.05)


def _sleep(flow: RunningFlow, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and flow.process.poll() is None:
        flow.children()
        time.sleep(0.05)
