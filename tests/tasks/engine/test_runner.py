"""What a story sees of steps that are not finished, and what a plan makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from tasks.engine.pending import Pending, PendingError, derived, is_pending, later, pending
from tasks.engine.perform import perform
from tasks.engine.runner import Dry, Runner
from tasks.engine.spec import Act, Done, Step, StepSpec, all_steps
from tasks.workspace import Workspace

LOOKS: list[Callable[[Any], object]] = [
    lambda value: value.folder,
    lambda value: value.figures["rate"],
    lambda value: value["rate"],
    lambda value: value > 1,
    lambda value: value == 1,
    lambda value: value * 0.5,
    lambda value: 2 * value,
    lambda value: f"{value}",
    float,
    bool,
    list,
    Path,
    hash,
]


@pytest.mark.parametrize("look", LOOKS)
def test_whoever_looks_at_what_is_pending_is_told_which_step_makes_it(look: Callable[[Any], object]) -> None:
    with pytest.raises(PendingError, match=r"quantize of resnet50 int8 is not finished"):
        look(pending("quantize of resnet50 int8"))


def test_what_is_derived_of_something_pending_is_pending_if_it_looks_at_it() -> None:
    @derived
    def chosen(first: float, second: float, take_second: bool) -> float:
        return second * 2 if take_second else first * 2

    rate = pending("probe of resnet50 Offline")
    assert chosen(1.0, rate, take_second=False) == 2
    assert isinstance(chosen(1.0, rate, take_second=True), Pending)
    assert isinstance(later(lambda: rate.value), Pending)
    assert is_pending({"rate": [1, {"of": rate}]})
    assert not is_pending({"rate": [1, {"of": 2}]})


MADE, USED = StepSpec("make", "prepare", (), 1.0, 9.0), StepSpec("use", "deliver", ("make",), 2.0, 9.0)


def story(run: Runner, content: str, done: list[str]) -> None:
    """Make a file, and count its bytes; `done` is told what was really done."""

    def step(spec: StepSpec, inputs: Callable[[], dict[str, JsonValue]], text: Callable[[], str]) -> Step:
        def produce(folder: Path, _recorder: object) -> dict[str, JsonValue]:
            done.append(spec.name)
            (folder / "file").write_text(text())
            return {}

        return Step(spec, "x", inputs, produce)

    made = run(step(MADE, lambda: {"content": content}, lambda: content))
    size = later(lambda: made.file("file").stat().st_size)
    run(step(USED, lambda: {"of": made.content_hash, "size": size}, lambda: str(size)))
    run(Act(replace(USED, name="tell"), "x", lambda _: Done(None)))


class Here(Dry):
    """Does everything at once, without Prefect."""

    def __call__(self, work: Any) -> Any:
        return perform(self.workspace, work).value


def test_a_plan_is_what_the_same_story_does_then(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    for content, expected in (("one", ["make", "use"]), ("one", []), ("two", ["make", "use"])):
        dry = Dry(workspace, lambda spec, _label: spec.mini_seconds)
        done: list[str] = []
        story(dry, content, done)
        assert done == []
        assert [step.name for step in dry.steps if not step.done] == [*expected, "tell"]
        story(Here(workspace, lambda _spec, _label: 0.0), content, done)
        assert done == expected


def test_what_was_never_done_is_guessed_and_what_was_done_counts(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    dry = Dry(workspace, lambda spec, _label: spec.mini_seconds)
    story(dry, "one", [])
    assert [step.seconds for step in dry.steps] == [1.0, 2.0, 2.0]
    story(Here(workspace, lambda _spec, _label: 0.0), "one", [])
    again = Dry(workspace, lambda spec, _label: spec.mini_seconds)
    story(again, "another", [])
    measured = {record.step: record.seconds for record in workspace.cache.records()}
    assert [step.seconds for step in again.steps] == [measured["make"], measured["use"], 2.0]


def test_each_step_stands_after_those_that_it_takes_from() -> None:
    names = [spec.name for spec in all_steps()]
    assert len(names) == len({*names})
    for spec in all_steps():
        assert all(names.index(name) < names.index(spec.name) for name in spec.takes if name in names)
