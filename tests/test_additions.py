"""A newcomer adds things in a copy of this project, each in as many files as the documentation says.

All stand in one copy, where a rehearsal of the new benchmark goes through the new step.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROGRAM, shell
from tests.copies import copy_project
from tests.planned import done_steps
from tests.small_system import small_system


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


def add_step(house: Path) -> None:
    """Add a step: its file, and its call in the story."""
    (house / "tasks" / "count_files.py").write_text(STEP)
    story = house / "flows" / "prepare.py"
    insert(
        story, "from tasks.build_engine import build_engine\n", "from tasks.count_files import count_files\n"
    )
    insert(story, "    steps += [network, data]\n", "    steps.append(run(count_files(of, data)))\n")


def add_benchmark(house: Path) -> None:
    """Add a benchmark: its folder, made of resnet50's, and its rules."""
    toy = shutil.copytree(house / "models" / "resnet50", house / "models" / "toy")
    for path in toy.rglob("*.py"):
        path.write_text(path.read_text().replace("models.resnet50", "models.toy"))
    facts = toy / "facts.py"
    facts.write_text(facts.read_text().replace('name="resnet50"', 'name="toy"'))
    listed, rules = "models=table(\n        *_COMMON,\n", '        replace(RESNET, name="toy", audits=()),\n'
    insert(house / "mlperf_submission" / "rounds" / "v4.py", listed, rules)


ROUND = '''"""Round v7.0."""

from dataclasses import replace

from mlperf_submission.rounds.v6 import V6_1

V7_0 = replace(V6_1, name="v7.0")
'''


def add_round(house: Path) -> None:
    """Add a round: its file, and its name."""
    rounds = house / "mlperf_submission" / "rounds"
    (rounds / "v7.py").write_text(ROUND)
    insert(rounds / "__init__.py", "import V6_0, V6_1\n", "from mlperf_submission.rounds.v7 import V7_0\n")
    insert(rounds / "__init__.py", "V5_1, V6_0, V6_1", ", V7_0")


@dataclass(frozen=True)
class House:
    """The copy; in it, a system of the new benchmark and the work folder where it was rehearsed."""

    folder: Path
    system: Path
    work: Path
    output: str

    def asked(self, *command: str) -> str:
        """Run a command with the copy's code, and return what it prints."""
        done = shell(*command, cwd=self.folder, PYTHONPATH=str(self.folder))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("additions")
    copy = copy_project(folder / "copy")
    for add in (add_step, add_benchmark, add_round):
        add(copy)
    system, work = small_system(folder, "toy_rehearsal"), folder / "work"
    content = yaml.safe_load(system.read_text())
    toy = content["benchmarks"]["resnet50"] | {"mini_samples": 64}
    system.write_text(yaml.safe_dump(content | {"benchmarks": {"toy": toy}}))
    new = House(copy, system, work, "")
    return House(copy, system, work, new.asked(str(PROGRAM), "run", str(system), "--work", str(work)))


def test_a_benchmark_is_its_folder_and_its_rules(house: House) -> None:
    done = {path.parent.name for path in house.work.glob("cache/*/*.json")}
    assert done >= {"make_mini", "preprocess", "quantize", "performance", "accuracy", "package", "validate"}
    [verdict] = house.work.glob("cache/validate/*/verdict.json")
    assert [one["benchmark"] for one in json.loads(verdict.read_bytes())["results"]] == ["toy"]


def test_a_step_is_its_file_and_its_call_in_the_story(house: House) -> None:
    assert ("count_files", "toy mini") in done_steps(house.output)
    assert [*house.work.glob("cache/count_files/*/count.txt")]
    planned = house.asked(str(PROGRAM), "plan", str(house.system), "--work", str(house.work))
    (row,) = [line for line in planned.splitlines() if "count_files" in line]
    assert "toy mini" in row and "finished" in row
    script = "from tasks.engine.spec import said_again; print(said_again(('download',)))"
    assert "count_files" in house.asked(sys.executable, "-P", "-c", script)


def test_a_round_is_its_file_and_its_name(house: House, tmp_path: Path) -> None:
    content = yaml.safe_load((house.folder / "deployments" / "systems" / "rehearsal_edge.yaml").read_text())
    system = tmp_path / "system.yaml"
    system.write_text(yaml.safe_dump(content | {"round": "v7.0"}))
    plan = house.asked(str(PROGRAM), "plan", str(system), "--work", str(tmp_path / "work"))
    assert "MultiStream" in plan and "to go" in plan
    form = "from prefect.utilities.callables import parameter_schema as form; from flows.fleet import fleet; "
    shown = f"{form}print(form(fleet).properties['round_name'])"
    assert "'v7.0'" in house.asked(sys.executable, "-P", "-c", shown)
