"""What `measure_again` repeats, and what it does not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from flows.measure import forget
from tasks.step import Step
from tasks.workspace import Workspace


def test_a_run_forgets_what_was_measured_before_it_and_keeps_what_it_measured_itself(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    step = Step(name="performance", label="resnet50 Offline", inputs={"target_qps": 1})
    made = workspace.cache.run(step.name, step.label, step.inputs, lambda _folder: {})
    for start in (None, made.created - timedelta(seconds=1)):
        forget(workspace, step, start)
        assert workspace.cache.find(step.name, step.label, step.inputs)
    forget(workspace, step, made.created + timedelta(seconds=1))
    assert workspace.cache.find(step.name, step.label, step.inputs) is None
