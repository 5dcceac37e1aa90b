"""The files around the code: workflows that GitHub takes, and no address of a package registry anywhere."""

from __future__ import annotations

import subprocess
import tomllib

import pytest

from tests.conftest import PROGRAM, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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
