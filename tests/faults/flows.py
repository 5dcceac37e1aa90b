"""Flows that are started, hit and looked at: real commands in real processes, with folders of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from mlperf_submission.harness.lock import holders
from mlperf_submission.steps.cache import StepCache, StepRecord
from tests.conftest import PROGRAM, ROOT, clean_environment
from tests.planned import shown_steps
from tests.prefect_site import as_ours
from tests.small_system import small_system

SYSTEM = "rehearsal_faults"
_FORK_SERVER = "mlperf_submission.fork_server"
_LOADGEN = "harness.child"
_CHILDREN = (_LOADGEN, "models.jobs", "network.", "tensorrt.build")
"""How the names of our children's processes begin."""
_GONE_SECONDS = 15.0
_FINISH_SECONDS = 3600.0
"""A run may have to wait for the host, which others use."""
_ATTEMPTS = 3
_POLL_SECONDS = 0.02


@dataclass
class RunningFlow:
    """A `mlperf-submission run` of its own process, whose output goes to a file."""

    process: psutil.Popen
    work: Path
    output: Path
    family: dict[int, psutil.Process] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What it printed so far."""
        return self.output.read_text(errors="replace")

    def wait(self, seconds: float) -> int:
        """Return its exit status; it is an error of the trial if it does not end in this time."""
        return int(self.process.wait(seconds))

    def children(self) -> list[psutil.Process]:
        """Return all that it has started and that is alive, and remember it."""
        try:
            alive = self.process.children(recursive=True)
        except psutil.NoSuchProcess:
            alive = []
        self.family |= {process.pid: process for process in alive}
        return alive

    def find(self, target: str) -> psutil.Process | None:
        """Return a living process: a key of `kills.TARGETS`."""
        if target == "flow":
            return self.process if self.process.poll() is None else None
        for child in self.children():
            if _is(target, child):
                return child
        return None

    def await_process(self, target: str, seconds: float) -> psutil.Process | None:
        """Wait until that process is there; None if the flow ended before, or it did not come."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and self.process.poll() is None:
            if found := self.find(target):
                return found
            time.sleep(_POLL_SECONDS)
        return None

    def left_alive(self) -> list[str]:
        """Return what outlived the flow, once it had time to go: processes, and the host's lock."""
        left = outliving(list(self.family.values()), _GONE_SECONDS)
        return left + holding([self.process, *self.family.values()])


def outliving(family: list[psutil.Process], seconds: float) -> list[str]:
    """Return which processes of a flow are still there after so long."""
    _, alive = psutil.wait_procs(family, timeout=seconds)
    return [f"{' '.join(words_of(process))[:120]} outlived the flow" for process in alive]


def words_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process; empty if it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _is(target: str, process: psutil.Process) -> bool:
    words = words_of(process)
    if target == "Prefect server":
        return "uvicorn" in words
    if target == "S3 server":
        return bool(words) and Path(words[0]).name.startswith("rclone")
    with suppress(psutil.Error):
        if target == "fork server":
            return _FORK_SERVER in words and not process.name().startswith(_CHILDREN)
        return process.name().startswith(_LOADGEN if target == "LoadGen child" else _CHILDREN)
    return False


def system_file(place: Path, *, server: bool = False) -> Path:
    """Write the trials' system file into a folder, which is made if it is missing; see `small_system`."""
    place.mkdir(parents=True, exist_ok=True)
    return small_system(place, SYSTEM, server=server)


def start(
    system: Path, work: Path, output: Path | None = None, *, again: bool = False, api: str | None = None
) -> RunningFlow:
    """Start `mlperf-submission run` on a work folder.

    Args:
        system: the system file.
        work: the work folder.
        output: the file for what it prints; by default beside the work folder.
        again: repeat finished measurements.
        api: a Prefect server that is running; by default the command starts its own.
    """
    work.parent.mkdir(parents=True, exist_ok=True)
    output = output or work.parent / f"{work.name}-{time.time_ns()}.txt"
    with output.open("wb") as sink:
        process = psutil.Popen(
            [str(PROGRAM), "run", str(system), "--work", str(work), *["--measure-again"] * again],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=clean_environment(PYTHONPATH=str(ROOT), **{"PREFECT_API_URL": api} if api else {}),
            preexec_fn=as_ours,
        )
    return RunningFlow(process, work, output)


def finish(system: Path, work: Path, output: Path | None = None, *, api: str | None = None) -> RunningFlow:
    """Run the same command until it ends well; only a measurement that is INVALID may take another attempt.

    Raises:
        AssertionError: it ended in another way; the message is its output.
    """
    for number in range(_ATTEMPTS):
        flow = start(system, work, output, again=number > 0, api=api)
        if flow.wait(_FINISH_SECONDS) == 0:
            return flow
        assert "INVALID" in flow.text or "TEST0" in flow.text, flow.text
    raise AssertionError(f"{_ATTEMPTS} attempts were INVALID: {flow.text}")


def holding(processes: Iterable[psutil.Process]) -> list[str]:
    """Return which of these processes hold the host's lock."""
    ours = {str(process.pid) for process in processes}
    return [f"{one} holds the host's lock" for one in holders() if one.split()[1] in ours]


def tree_of(work: Path) -> Path:
    """Return the tree of the newest run in a work folder."""
    runs = (work / "submissions" / SYSTEM).iterdir()
    return max(runs, key=lambda run: run.stat().st_mtime) / "tree"


def records(work: Path) -> dict[tuple[str, str], StepRecord]:
    """Return every finished step of a work folder, by step and key."""
    return {(one.step, one.key): one for one in StepCache(work / "cache").records()}


def damaged(work: Path) -> list[str]:
    """Return the steps that are recorded as finished and whose files are not whole."""
    cache = StepCache(work / "cache")
    return [
        f"{one.step} ({one.label}) is recorded as finished and is not whole"
        for one in cache.records()
        if cache.find(one.step, one.label, one.inputs) is None
    ]


def step_at_work(work: Path) -> str:
    """Return the step that a work folder shows as half done; else, whether any is finished."""
    for partial in (work / "cache").glob("*/.partial-*"):
        return partial.parent.name
    return "between steps" if any((work / "cache").glob("*/*.json")) else "before the first step"


def is_clear(text: str) -> bool:
    """Whether the end of a flow is a message for a person: what to do, and no traceback."""
    return "What to do" in text and "Traceback" not in text


def kill(process: psutil.Process, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal; False if the process is gone already."""
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def started_steps(text: str) -> list[tuple[str, str]]:
    """Return (mark, step and label) of each line of progress."""
    return [(mark, f"{step} {label}") for mark, step, label in shown_steps(text)]
