"""Faults of a run that a worker has started: of the flow, of the worker, of the server; a person's cancel."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults.flows import (
    damaged,
    holding,
    kill,
    outliving,
    records,
    step_at_work,
    system_file,
    tree_of,
    words_of,
)
from tests.faults.site import Breakable, site
from tests.faults.trees import same_but_measured
from tests.faults.trials import Trial

_SPAN_SECONDS = 10.0
_END_SECONDS = 1800.0
_GONE_SECONDS = 30.0
_WATCHDOG_SECONDS = 180.0
"""The watchdog gives the worker a minute to say itself what became of the flow, and then says it."""


@dataclass(frozen=True)
class Fault:
    """What is done to a run under a worker.

    Attributes:
        what: in words.
        ends: the states that the run may end in.
        do: does it, to the site, the flow's process and the run's id.
    """

    what: str
    ends: tuple[str, ...]
    do: Callable[[Breakable, psutil.Process, str], None]


def _flow_killed(_: Breakable, flow: psutil.Process, __: str) -> None:
    kill(flow)


def _flow_terminated(_: Breakable, flow: psutil.Process, __: str) -> None:
    kill(flow, signal.SIGTERM)


def _worker_killed(one: Breakable, _: psutil.Process, __: str) -> None:
    one.end_worker(signal.SIGKILL)


def _worker_terminated(one: Breakable, _: psutil.Process, __: str) -> None:
    one.end_worker(signal.SIGTERM)


def _cancelled(one: Breakable, _: psutil.Process, run: str) -> None:
    one.api("POST", f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})


def _server_away(seconds: float) -> Callable[[Breakable, psutil.Process, str], None]:
    def do(one: Breakable, _: psutil.Process, __: str) -> None:
        one.kill_server()
        time.sleep(seconds)
        one.start_server()

    return do


def faults(away_seconds: float) -> tuple[Fault, ...]:
    """Return every fault of a deployment.

    Args:
        away_seconds: for how long the server is gone.
    """
    return (
        Fault("kill -9 of the flow under a worker", ("CRASHED",), _flow_killed),
        Fault("kill -9 of the worker", ("CRASHED",), _worker_killed),
        Fault("SIGTERM to the flow under a worker", ("CRASHED",), _flow_terminated),
        Fault("a run is cancelled", ("CANCELLED",), _cancelled),
        Fault("SIGTERM to the worker", ("CRASHED",), _worker_terminated),
        Fault(
            f"the server is killed and gone for {away_seconds:.0f} s",
            ("COMPLETED",),
            _server_away(away_seconds),
        ),
    )


def deployed_trials(
    base: Path,
    seed: int,
    chosen: Sequence[Fault],
    *,
    span_seconds: float = _SPAN_SECONDS,
    say: Callable[[str], None] = lambda _: None,
) -> list[Trial]:
    """Do each fault to a run of the deployment at a random moment; then let a run finish.

    Args:
        base: the folder of the site and the runs.
        seed: of the random moments.
        chosen: the faults, in turn.
        span_seconds: a fault comes within so many seconds of work.
        say: told what was done.
    """
    draw, system, trials = random.Random(seed), system_file(base), []
    with site(base / "site") as one:
        deployment = one.deploy_submission()
        undisturbed = base / "undisturbed"
        state = one.ended(one.start(deployment, system=str(system), work=str(undisturbed)), _END_SECONDS)
        assert state[0] == "COMPLETED", f"{state}: {one.logs()}"
        for number, fault in enumerate(chosen):
            began, work = time.monotonic(), base / f"deployed-{number}"
            parameters = {"system": str(system), "work": str(work)}
            run = one.start(deployment, **parameters)
            flow = one.await_flow(run)
            while not any((work / "cache").glob("*/.partial-*")) and flow.is_running():
                time.sleep(0.05)
            time.sleep(draw.uniform(0, span_seconds))
            family = [flow, *_children(flow)]
            moment, before = step_at_work(work), records(work)
            fault.do(one, flow, run)
            state = one.ended(run, _END_SECONDS)
            family += _children(flow)
            watchdogs = [process for process in family if "flows.watchdog" in words_of(process)]
            lost = outliving([process for process in family if process not in watchdogs], _GONE_SECONDS)
            lost += outliving(watchdogs, _WATCHDOG_SECONDS) + holding(family)
            lost += [
                f"{step} was finished and is gone" for step, key in before if (step, key) not in records(work)
            ]
            if state[0] not in fault.ends:
                lost.append(f"the run ended {state[0]}, not {' or '.join(fault.ends)}: {state[1]}")
            one.ensure_worker()
            if state[0] != "COMPLETED":
                again = one.ended(one.start(deployment, **parameters), _END_SECONDS)
                if again[0] != "COMPLETED":
                    lost.append(f"the rerun ended {again[0]}: {again[1]}")
            lost += damaged(work) + same_but_measured(tree_of(undisturbed), tree_of(work))
            went_on = state[0] == "COMPLETED"
            trials.append(Trial(fault.what, moment, went_on, tuple(lost), time.monotonic() - began))
            say(f"{fault.what} ({moment}): {state[0]}; {'; '.join(lost) or 'nothing lost'}")
    return trials


def _children(flow: psutil.Process) -> list[psutil.Process]:
    try:
        return flow.children(recursive=True)
    except psutil.Error:
        return []
