"""The files around the code: workflows that GitHub takes, and no address of a package registry anywhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import PROGRAM, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
SHIPPED = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_the_workflows_keep_to_githubs_schema() -> None:
    checker = str(PROGRAM.with_name("check-jsonschema"))
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(WORKFLOWS) == 2
    assert done.returncode == 0, done.stdout


def test_every_python_that_is_promised_is_tested() -> None:
    promised = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: Python :: 3." in line]
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    assert "python: [" + ", ".join(f'"{one}"' for one in promised) + "]" in text


@pytest.mark.parametrize(
    "name", ["LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff"]
)
def test_what_a_stranger_looks_for_is_there(name: str) -> None:
    assert (ROOT / name).read_text().strip()


def test_the_version_has_its_notes() -> None:
    assert f"\n## [{PROJECT['version']}] - " in (ROOT / "CHANGELOG.md").read_text()


def test_what_is_imported_is_a_dependency_of_its_own() -> None:
    extras = [one for some in PROJECT["optional-dependencies"].values() for one in some]
    declared = {_plain(re.split(r"[\[<>=]", one)[0]) for one in (*PROJECT["dependencies"], *extras)}
    owners = packages_distributions()
    missing = {
        (name, path.name)
        for folder in SHIPPED
        for path in (ROOT / folder).rglob("*.py")
        for name in _imported(path) - {*SHIPPED, *sys.stdlib_module_names} - {"mypy_boto3_s3"}
        if not declared & {_plain(owner) for owner in owners.get(name, [])}
    }
    assert missing == set()


def test_every_extra_that_a_page_installs_is_there() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile"]
    asked = {
        (page.name, extra)
        for page in pages
        for extras in re.findall(r"(?:\.|mlperf-submission)\[([\w,-]+)\]", page.read_text())
        for extra in extras.split(",")
    }
    assert asked
    assert {one for one in asked if one[1] not in PROJECT["optional-dependencies"]} == set()


def _plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}
