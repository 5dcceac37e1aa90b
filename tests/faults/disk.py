"""A disk that becomes full while a step is at work: each step in turn, on a small file system of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.faults.flows import RunningFlow, damaged, finish, is_clear, records, start, system_file
from tests.faults.trials import Trial

STEPS = (
    "make_mini",
    "download",
    "preprocess",
    "quantize",
    "build_engine",
    "performance",
    "accuracy",
    "test01",
    "test04",
    "test05",
    "package",
    "validate",
    "report",
    "upload",
)
"""Every step of the trials' flow that writes, in its order."""
_SIZE = "400m"
_PAGE = 4096
_END_SECONDS = 3600.0


def may_mount() -> bool:
    """Whether this process may mount a file system of its own: only root may."""
    return os.geteuid() == 0


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Mount a small file system in memory for the length of the block."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "faults", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left on a disk; return the file that holds it."""
    filler = disk / "filler"
    with filler.open("ab") as stream:
        while free := os.statvfs(disk).f_bavail * _PAGE:
            try:
                os.posix_fallocate(stream.fileno(), os.fstat(stream.fileno()).st_size, min(free, 1 << 20))
            except OSError:
                if free <= _PAGE:
                    break
                time.sleep(0.001)
    return filler


def full_disk_trials(
    base: Path,
    steps: Sequence[str] = STEPS,
    *,
    api: str | None = None,
    finished: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Trial]:
    """Fill the disk when each of the steps begins, free it, and start the same command again.

    Args:
        base: a folder that becomes the disk's place.
        steps: which steps are hit, in the order of the flow.
        api: a Prefect server on another disk; by default the command's own, whose database is on this one.
        finished: a work folder with a finished run, whose steps before the first that is hit are taken over.
        say: told what was done.
    """
    where = "the server's database elsewhere" if api else "the server's database on the same disk"
    trials: list[Trial] = []
    with small_disk(base / "disk") as disk:
        system, work = system_file(base), disk / "work"
        if finished:
            shutil.copytree(finished / "cache", work / "cache", symlinks=True)
            for name in STEPS[STEPS.index(steps[0]) :]:
                shutil.rmtree(work / "cache" / name, ignore_errors=True)
        for step in steps:
            began, before = time.monotonic(), records(work)
            flow = start(system, work, base / f"{step}.txt", api=api)
            hit = _await_step(flow, work, step)
            filler = fill(disk)
            status = flow.wait(_END_SECONDS)
            filler.unlink()
            lost = flow.left_alive() + damaged(work)
            lost += [
                f"{name} was finished and is gone" for name, key in before if (name, key) not in records(work)
            ]
            if not hit:
                lost.append(f"the step was never at work: {flow.text[-300:]}")
            if status != 0 and not (is_clear(flow.text) and "disk is" in flow.text):
                lost.append(f"it ended without a clear message: {flow.text[-500:]}")
            trials.append(
                Trial(f"disk full, {where}", step, status == 0, tuple(lost), time.monotonic() - began)
            )
            say(f"disk full in {step} ({where}): status {status}; {'; '.join(lost) or 'nothing lost'}")
        finish(system, work, base / "freed.txt", api=api)
    return trials


def _await_step(flow: RunningFlow, work: Path, step: str) -> bool:
    """Wait until a step has a folder that it writes into (the upload: until it has sent something)."""
    while flow.process.poll() is None:
        flow.children()
        if step == "upload":
            if any((work / "s3").glob("*/objects/*/*")):
                return True
        elif any((work / "cache" / step).glob(".partial-*")):
            return True
        time.sleep(0.002)
    return False
