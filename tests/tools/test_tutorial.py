"""The tutorial's output is that of its commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import tutorial


def test_the_output_of_a_command_is_put_in_and_the_rest_stays(tmp_path: Path) -> None:
    page = (
        "Say\n\n```console\n$ echo one > file; pwd\n```\n\n"
        "and\n\n```console\n$ cat file\nold\n```\n\n    echo no\n"
    )
    wanted = page.replace("pwd\n", "pwd\n/home/me\n").replace("old", "one")
    assert tutorial.refreshed(page, tmp_path) == wanted
    assert tutorial.refreshed(wanted, tmp_path) == wanted


def test_a_command_that_fails_is_not_put_in(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        tutorial.refreshed("```console\n$ false | cat\n```\n", tmp_path)


def test_the_tutorial_runs_the_way_from_plan_to_validation() -> None:
    verbs = [command.split()[1] for command in tutorial.commands(tutorial.PAGE.read_text(encoding="utf-8"))]
    assert verbs[:5] == ["plan", "run", "run", "fetch", "validate"]
