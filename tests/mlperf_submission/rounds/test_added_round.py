"""A round is its file and its name in the list: one is added to a copy, planned for and offered."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import yaml

from tests.conftest import ROOT, shell

ROOMS = ("cli", "deployments", "flows", "mlperf_submission", "models", "tasks")
ROUND = '''"""Round v7.0."""

from dataclasses import replace

from mlperf_submission.rounds.v6 import V6_1

V7_0 = replace(V6_1, name="v7.0")
'''


def test_a_round_is_its_file_and_its_name(tmp_path: Path) -> None:
    house = tmp_path / "house"
    for room in ROOMS:
        shutil.copytree(ROOT / room, house / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", house)
    rounds = house / "mlperf_submission" / "rounds"
    (rounds / "v7.py").write_text(ROUND)
    listed = (rounds / "__init__.py").read_text()
    last = "import V6_0, V6_1\n"
    named = listed.replace(last, f"{last}from mlperf_submission.rounds.v7 import V7_0\n")
    (rounds / "__init__.py").write_text(named.replace("V6_0, V6_1)", "V6_0, V6_1, V7_0)"))

    content = yaml.safe_load((house / "deployments" / "systems" / "rehearsal_edge.yaml").read_text())
    system = tmp_path / "system.yaml"
    system.write_text(yaml.safe_dump(content | {"round": "v7.0"}))

    def python(code: str, *arguments: str) -> str:
        done = shell(sys.executable, "-P", "-c", code, *arguments, cwd=house, PYTHONPATH=str(house))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    plan = python("from cli.main import main; main()", "plan", str(system), "--work", str(tmp_path / "work"))
    assert "MultiStream" in plan and "to go" in plan
    form = "from prefect.utilities.callables import parameter_schema as form; from flows.fleet import fleet; "
    assert "'v7.0'" in python(f"{form}print(form(fleet).properties['round_name'])")
