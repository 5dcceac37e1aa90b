"""Output is for people: no locale, closed pipe, full disk or text of others does more than look odd."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.terminal import Console, user_name
from tests.conftest import ROOT

FLOW = """
import sys
from flows.terminal import Console, tolerate_output
tolerate_output()
from cli.console import Estimate, ProgressConsole
from tasks.progress import StepEvent, emit
console = Console()
progress = ProgressConsole(console, Estimate([(("build", "x"), 10.0)]))
with progress.shown():
    for _ in range(200):
        emit(StepEvent("start", "build", "x"))
        emit(StepEvent("done", "build", "x", seconds=9.5, text="→ µs ☃ " * 20))
console.print("✓ ✗")
print("plain ✓")
print("the flow went on to its end", file=sys.stderr)
"""
ENVIRONMENT = {**os.environ, "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}


def in_a_shell(script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", script, sys.executable, FLOW],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        timeout=900,
        check=False,
    )


@pytest.mark.parametrize("output", ["> /dev/full", "| true", ">&-", "> /dev/null"])
def test_an_output_that_cannot_be_written_ends_nothing(output: str) -> None:
    done = in_a_shell(f'{{ "$0" -c "$1"; echo status $? >&2; }} {output}')
    assert done.stderr.decode().splitlines() == ["the flow went on to its end", "status 0"]


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii"])
def test_a_locale_that_lacks_a_character_shows_its_escape(encoding: str) -> None:
    done = in_a_shell('"$0" -c "$1"', PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr.decode()) == (0, "the flow went on to its end\n")
    text = done.stdout.decode(encoding)
    assert r"plain \u2713" in text
    assert ("→ µs" if encoding == "utf-8" else r"\u2192") in text


def test_a_description_that_is_not_written_whole_is_an_error() -> None:
    main = "from cli.main import main; main()"
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" describe --yaml > /dev/full', sys.executable, main],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 2
    assert "the description could not be written: No space left on device" in done.stderr


def test_text_of_others_does_not_steer_the_terminal_wherever_it_stands() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=200)
    evil = "a\x1b]0;title\x07b"
    table = Table(evil, title=evil)
    table.add_row(evil)
    console.print(evil, Text(evil), table)
    with Live(Text(evil), console=console, auto_refresh=False):
        console.print(Text.assemble((evil, "bold")))
    text = output.getvalue()
    assert "\x1b]" not in text
    assert "\x07" not in text
    assert text.count(r"\x1b]0;title") >= 5


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert user_name() == "user 4000000000"


def test_every_command_prints_through_this_console() -> None:
    wrong = [
        path.name
        for path in Path(ROOT, "flows").glob("*.py")
        if path.name != "terminal.py"
        and "Console(" in (text := path.read_text()).replace("ProgressConsole(", "")
        and "from flows.terminal import Console" not in text
    ]
    assert wrong == []
