"""A newcomer adds things in a copy of this project, each in as many files as the documentation says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROGRAM, Rehearsal, shell
from tests.copies import copy_project


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what is shipped, to add to."""
    return copy_project(tmp_path / "copy")


def in_copy(copy: Path, *command: str) -> str:
    """Run a command with the copy's code, and return what it prints."""
    done = shell(*command, cwd=copy, PYTHONPATH=str(copy))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def insert(path: Path, after: str, text: str) -> None:
    """Write a text into a file, behind one that is there once."""
    content = path.read_text()
    assert content.count(after) == 1
    path.write_text(content.replace(after, after + text))


STEP = '''
"""Count the files of a download."""

from tasks.engine.spec import Step, StepSpec

COUNT_FILES = StepSpec("count_files", "prepare", takes=("download",))


def count_files(label, data):
    def produce(folder, recorder):
        (folder / "count.txt").write_text(str(len(data.files)))
        return {"files": len(data.files)}

    return Step(COUNT_FILES, label, lambda: {"data": data.content_hash}, produce)
'''


def test_a_step_is_its_file_and_its_call_in_the_story(
    copy: Path, rehearsal: Rehearsal, tmp_path: Path
) -> None:
    (copy / "tasks" / "count_files.py").write_text(STEP)
    story = copy / "flows" / "prepare.py"
    insert(
        story, "from tasks.build_engine import build_engine\n", "from tasks.count_files import count_files\n"
    )
    insert(story, "    steps += [network, data]\n", "    steps.append(run(count_files(of, data)))\n")

    work = tmp_path / "work"
    subprocess.run(["cp", "-a", str(rehearsal.work), str(work)], check=True)
    command = ("rehearsal", "--models", "resnet50", "--work", str(work))
    planned = in_copy(copy, str(PROGRAM), "plan", *command)
    (row,) = [line for line in planned.splitlines() if "count_files" in line]
    assert "resnet50 mini" in row
    assert "to do" in row
    done = in_copy(copy, str(PROGRAM), "run", *command)
    (row,) = [line for line in done.splitlines() if "count_files" in line]
    assert "✓" in row
    assert (work / "cache" / "count_files").is_dir()
    (again,) = [
        line for line in in_copy(copy, str(PROGRAM), "plan", *command).splitlines() if "count_files" in line
    ]
    assert "finished" in again
    script = "from tasks.engine.spec import said_again; print(said_again(('download',)))"
    assert "count_files" in in_copy(copy, str(PROGRAM.with_name("python")), "-c", script)


ROUND = '''"""Round v7.0."""

from dataclasses import replace

from mlperf_submission.rounds.v6 import V6_1

V7_0 = replace(V6_1, name="v7.0")
'''


def test_a_round_is_its_file_and_its_name(copy: Path, tmp_path: Path) -> None:
    rounds = copy / "mlperf_submission" / "rounds"
    (rounds / "v7.py").write_text(ROUND)
    insert(rounds / "__init__.py", "import V6_0, V6_1\n", "from mlperf_submission.rounds.v7 import V7_0\n")
    insert(rounds / "__init__.py", "V5_1, V6_0, V6_1", ", V7_0")
    content = yaml.safe_load((copy / "deployments" / "systems" / "rehearsal_edge.yaml").read_text())
    system = tmp_path / "system.yaml"
    system.write_text(yaml.safe_dump(content | {"round": "v7.0"}))
    plan = in_copy(copy, str(PROGRAM), "plan", str(system), "--work", str(tmp_path / "work"))
    assert "MultiStream" in plan and "to go" in plan
    form = "from prefect.utilities.callables import parameter_schema as form; from flows.fleet import fleet; "
    shown = f"{form}print(form(fleet).properties['round_name'])"
    assert "'v7.0'" in in_copy(copy, sys.executable, "-P", "-c", shown)
