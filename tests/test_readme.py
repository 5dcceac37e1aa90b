"""Every command of the README is run here, as it stands there."""

from __future__ import annotations

import re
import shlex
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import ROOT, Rehearsal, shell
from tests.planned import done_steps, left_to_do
from tests.readme import COMMANDS, OURS, PREFECT, README


def test_every_command_is_run_by_a_test() -> None:
    """Those of Prefect by tests/deployments/test_deploy.py, the others here."""
    assert sorted(COMMANDS) == sorted(["make rehearsal", "make test", *OURS, *PREFECT])
    assert len(OURS) >= 5
    assert len(PREFECT) == 5


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []


def test_make_test_runs_lint_types_and_tests() -> None:
    plan = shell("make", "--always-make", "--dry-run", "test").stdout
    for word in (
        "--constraint constraints.txt",
        "ruff check .",
        "ruff format --check .",
        "bin/mypy",
        "-m pytest",
    ):
        assert word in plan


def test_types_are_checked_in_our_folders_and_not_in_the_copies_that_a_rehearsal_leaves() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    packages = project["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(project["mypy"]["files"]) == {*packages, "tests", "tools"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, rehearsal: Rehearsal) -> Path:
    """Where a person is who has rehearsed."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "work").symlink_to(rehearsal.work)
    return folder


@pytest.fixture(scope="module")
def said(place: Path) -> dict[str, str]:
    """What each command of the command line prints, by its second word."""
    printed = {}
    for line in OURS:
        done = shell(*shlex.split(line), cwd=place)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        printed[line.split()[1]] = done.stdout
    return printed


def test_a_second_rehearsal_repeats_no_work(rehearsal: Rehearsal, request: pytest.FixtureRequest) -> None:
    assert left_to_do(rehearsal.work, "rehearsal") == {("upload", "rehearsal")}, "which looks at the store"
    again = request.getfixturevalue("said")["run"]
    assert done_steps(again) == set()
    assert "79 steps were found" in again
    assert rehearsal.run in again
    with closing(sqlite3.connect(rehearsal.work / "prefect" / "prefect.db")) as database:
        tasks = dict(database.execute("select name, state_name from task_run order by start_time"))
        flows = {name for (name,) in database.execute("select name from flow_run")}
    assert tasks["quantize resnet50 int8"] == tasks["report rehearsal"] == "Cached"
    assert any(re.fullmatch(r"submission rehearsal v4\.1 #[0-9a-f]{4}", name) for name in flows)
    assert {"measure resnet50 Offline", "deliver rehearsal"} <= flows


def test_its_run_comes_back_whole_and_its_page_is_made_again(said: dict[str, str], place: Path) -> None:
    assert "all verified" in said["fetch"]
    assert (place / "fetched" / "engines" / "resnet50" / "engine.plan").stat().st_size > 100_000
    assert (place / "page" / "index.html").is_file()
