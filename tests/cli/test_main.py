"""The command line: exit statuses and messages, as a person meets them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

COMMANDS = ("run", "plan", "validate", "report", "merge", "publish", "fetch", "describe")


def test_help_names_every_command_with_an_example(command: Command) -> None:
    text = command("--help").stdout
    assert all(name in text for name in COMMANDS)
    assert "Example: mlperf-submission run rehearsal" in command("run", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nosuch"), "unknown system 'nosuch'"),
        (("run", "rehearsal", "--models", "gpt"), "not 'gpt'"),
        (("plan", "rehearsal", "--scenarios", ","), "names nothing"),
        (("validate", "/no/such/tree"), "the tree cannot be read: No such file or directory"),
        (("validate", ".", "--round", "v1.0"), "unknown round 'v1.0'"),
        (("merge", "/no/such/tree", "--out", "x"), "the tree cannot be read: No such file or directory"),
        (("fetch", "nosuch", "--to", "x"), "there is no system file 'nosuch'"),
    ],
)
def test_a_wrong_word_is_one_message_and_status_2(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "What to do" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "rehearsal", "--work", "{}"),
        ("plan", "rehearsal", "--work", "{}/below"),
        ("fetch", "rehearsal", "--work", "{}", "--to", "{}/below"),
    ],
)
def test_a_file_in_place_of_a_folder_is_one_message_and_stays(
    command: Command, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    done = command(*(argument.format(file) for argument in arguments))
    assert done.returncode == 2
    assert "the operating system refuses a file or folder: Not a directory" in done.stderr
    assert str(file) in done.stderr
    assert file.read_text() == "precious"


def test_a_plan_starts_nothing_and_names_every_step(command: Command, tmp_path: Path) -> None:
    done = command("plan", "rehearsal", "--models", "resnet50", "--work", str(tmp_path / "work"))
    assert done.returncode == 0, done.stderr
    steps = ("make_mini", "download", "preprocess", "quantize", "build_engine", "probe", "performance")
    later = ("accuracy", "test01", "test04", "test05", "describe", "package", "validate", "report", "upload")
    assert all(step in done.stdout for step in (*steps, *later))
    assert "0 of 23 steps finished" in done.stdout
    assert not (tmp_path / "work").exists()


def test_the_model_system_is_planned_without_its_gpus_and_data(command: Command, tmp_path: Path) -> None:
    done = command("plan", "SR650_V3_3xL40S_TRT", "--work", str(tmp_path / "work"))
    assert done.returncode == 0, done.stderr
    for place in ("resnet50 Offline", "gptj-99 Server"):
        assert re.search(rf"performance +│ {place}", done.stdout)
    assert "verify_data" in done.stdout


def test_validate_tells_an_empty_tree_from_an_accepted_one(command: Command, tmp_path: Path) -> None:
    (tmp_path / "closed" / "Someone").mkdir(parents=True)
    verdict = str(tmp_path / "verdict.json")
    unknown = command("validate", str(tmp_path))
    assert unknown.returncode == 1, "it holds no result"
    strict = command("validate", str(tmp_path), "--round", "v4.1", "--strict", "--json", verdict)
    assert strict.returncode == 1
    assert '"ok": false' in (tmp_path / "verdict.json").read_text()


def test_a_refused_tree_is_judged_without_prefect(tmp_path: Path) -> None:
    (tmp_path / "closed" / "Someone").mkdir(parents=True)
    script = (
        "import sys\nfrom cli.main import app\n"
        f"assert app(['validate', {str(tmp_path)!r}], standalone_mode=False) == 1\n"
        "print([name for name in ('prefect', 'boto3', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert "Done again: " in done.stdout, done.stderr
    assert done.stdout.endswith("\n[]\n")


def test_a_search_is_planned_before_the_server_run_with_its_time(command: Command, tmp_path: Path) -> None:
    arguments = ("plan", "rehearsal", "--scenarios", "Server", "--work", str(tmp_path))
    done = command(*arguments, "--search-minutes", "7")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "resnet50 Server" in line]
    assert "search" in lines[0] and "7:00" in lines[0]
    assert "performance" in lines[1]
    assert "30:00" in command(*arguments, "--find-server-qps").stdout
    refused = command(*arguments, "--search-minutes", "0")
    assert refused.returncode == 2 and "search_minutes: Input should be greater than 0" in refused.stderr
