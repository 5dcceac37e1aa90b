"""A benchmark is its folder in models/ and its rules in a round: one is added to a copy, and rehearsed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.conftest import ROOT, shell
from tests.copies import copy_project
from tests.small_system import small_system

LISTED = "models=table(\n        *_COMMON,\n"
RULES = LISTED + '        replace(RESNET, name="toy", audits=()),\n'


def house_with_a_toy(folder: Path) -> Path:
    """Return a copy of the project with a benchmark more, made of resnet50's folder as the how-to says."""
    copy_project(folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    toy = shutil.copytree(folder / "models" / "resnet50", folder / "models" / "toy")
    for path in toy.rglob("*.py"):
        path.write_text(path.read_text().replace("models.resnet50", "models.toy"))
    facts = toy / "facts.py"
    facts.write_text(facts.read_text().replace('name="resnet50"', 'name="toy"'))
    rounds = folder / "mlperf_submission" / "rounds" / "v4.py"
    text = rounds.read_text()
    assert LISTED in text
    rounds.write_text(text.replace(LISTED, RULES, 1))
    return folder


def test_a_benchmark_is_its_folder_and_its_rules(
    tmp_path: Path, prefect_home: Callable[[Path], Path]
) -> None:
    prefect_home(tmp_path / "work" / "prefect")
    house = house_with_a_toy(tmp_path / "house")
    system = small_system(tmp_path, "toy_rehearsal")
    content = yaml.safe_load(system.read_text())
    content["benchmarks"] = {"toy": content["benchmarks"]["resnet50"] | {"mini_samples": 64}}
    content["benchmarks"]["toy"]["performance_sample_count"] = 64
    system.write_text(yaml.safe_dump(content))
    work = tmp_path / "work"
    program = "from cli.main import main; main()"
    ran = shell(sys.executable, "-c", program, "run", str(system), "--work", str(work), cwd=house)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    done = {path.parent.name for path in work.glob("cache/*/*.json")}
    assert done >= {"make_mini", "preprocess", "quantize", "performance", "accuracy", "package", "validate"}
    [verdict] = work.glob("cache/validate/*/verdict.json")
    assert [one["benchmark"] for one in json.loads(verdict.read_bytes())["results"]] == ["toy"]
