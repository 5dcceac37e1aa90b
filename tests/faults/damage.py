"""Finished files that are damaged: found by their hash, made anew, said so; and what depends on them."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mlperf_submission.steps.cache import StepRecord
from mlperf_submission.steps.records import record_file
from tests.faults.flows import SYSTEM, damaged, finish, records, started_steps, system_file, tree_of
from tests.faults.trees import same_but_measured
from tests.faults.trials import Trial

PREPARED = ("make_mini", "download", "preprocess", "quantize", "build_engine")
MEASURED = ("performance", "accuracy", "test01", "test04", "test05")
DELIVERED = ("package", "validate", "report")
WAYS = ("a byte is flipped", "a file is truncated", "a file is deleted", "the record is cut off")


def damage_trials(
    base: Path,
    seed: int,
    steps: Sequence[str] = (*PREPARED, *MEASURED, *DELIVERED),
    ways: Sequence[str] = WAYS,
    *,
    finished: Path | None = None,
    api: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Trial]:
    """Damage each of the steps of a finished run in turn, and start the command again.

    Args:
        base: the folder of the runs.
        seed: of the files and places.
        steps: which steps are damaged, each in one of the ways, in turn.
        ways: the ways.
        finished: a work folder with a finished run, as it is afterwards, too; by default one is made.
        api: a Prefect server that is running; by default the commands start their own.
        say: told what was done.
    """
    draw, system, work = random.Random(seed), system_file(base), finished or base / "work"
    if not finished:
        finish(system, work, api=api)
    trials = []
    for number, step in enumerate(steps):
        began, way = time.monotonic(), ways[number % len(ways)]
        before, tree = records(work), tree_of(work).resolve()
        kept = base / f"tree-{number}"
        shutil.copytree(tree, kept)
        victim = newest(work, step)
        harm(work, victim, way, draw)
        flow = finish(system, work, api=api)
        lost = damaged(work) + [f"{text} (the tree)" for text in same_but_measured(kept, tree_of(work))]
        lost += _wrongly_done(flow.text, victim, before, records(work))
        trials.append(Trial(f"{step}: {way}", step, True, tuple(lost), time.monotonic() - began))
        done = [label for mark, label in started_steps(flow.text) if mark == "✓"]
        say(f"{step}, {way}: done again {', '.join(done)}; {'; '.join(lost) or 'nothing lost'}")
        shutil.rmtree(kept)
    return trials


def newest(work: Path, step: str) -> StepRecord:
    """Return the newest finished step of this name that has files."""
    return max((one for (name, _), one in records(work).items() if name == step), key=lambda one: one.created)


def harm(work: Path, record: StepRecord, way: str, draw: random.Random) -> None:
    """Damage a finished step: one of its files, or its record."""
    path = record.folder / draw.choice(record.files).path
    if way == "the record is cut off":
        path = record_file(work / "cache", record.step, record.key)
    content = bytearray(path.read_bytes())
    path.unlink()  # another work folder may have a link to it
    if way == "a byte is flipped" and content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    elif way != "a file is deleted":
        path.write_bytes(content[: len(content) // 2])


def _wrongly_done(
    text: str,
    victim: StepRecord,
    before: dict[tuple[str, str], StepRecord],
    after: dict[tuple[str, str], StepRecord],
) -> list[str]:
    """Return what a rerun did that it should not have done, or did not do or say."""
    done = {label for mark, label in started_steps(text) if mark == "✓"}
    ours = f"{victim.step} {victim.label}"
    wrong = []
    if ours not in done:
        wrong.append(f"{ours} was not made anew")
    elif ("✗", ours) in started_steps(text):
        pass  # measured twice: the line of the second time does not say why there was a first
    elif not any(ours.split()[0] in line and "damaged, made anew" in line for line in text.splitlines()):
        wrong.append(f"{ours} was made anew without saying why")
    # Another step may be done only because its inputs changed, which gives it another key.
    new = {f"{one.step} {one.label}" for key, one in after.items() if key not in before}
    wrong += [
        f"{label} was repeated without need" for label in sorted(done - new - {ours, f"upload {SYSTEM}"})
    ]
    return wrong
