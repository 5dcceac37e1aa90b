"""A failure leaves the flow with its cause and with what is done again; and that is what is done again."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlperf.triage.runs import RUNS as FAILURES_OF_RUNS
from mlperf.triage.steps import made_again
from tests.conftest import PROGRAM, Rehearsal, shell

pytestmark = pytest.mark.measures


def test_a_refused_tree_says_why_in_the_output_the_state_and_the_page(rehearsal: Rehearsal) -> None:
    done = shell(str(PROGRAM), "run", "rehearsal", "--scenarios", "Offline", "--work", str(rehearsal.work))
    assert done.returncode == 1
    told = "the tree is refused: M-05"
    cause = "Cause: The system file, --models or --scenarios left out a scenario that the round asks for."
    redo = "Done again: performance, accuracy, test01, test04, test05 of this result; then package"
    for text in (told, cause, redo):
        assert text in done.stderr
    with closing(sqlite3.connect(rehearsal.work / "prefect" / "prefect.db")) as database:
        states = database.execute("select message from flow_run_state where type = 'FAILED'").fetchall()
        logs = database.execute("select message from log").fetchall()
    for text in (told, cause, redo):
        assert any(text in message for (message,) in states)
        assert any(text in message for (message,) in logs)
    named = re.search(r"\[(/\S+/index\.html)\]", done.stderr)
    assert named
    page = Path(named[1]).read_text()
    assert "left out a scenario that the round asks for" in page
    assert "<span>Done again</span>" in page


def test_a_new_target_repeats_exactly_the_steps_that_the_table_names(
    rehearsal: Rehearsal, rehearsal_file: Path
) -> None:
    rehearsal_file.write_text(rehearsal_file.read_text().replace("target_qps: 400", "target_qps: 350"))
    shown = shell(str(PROGRAM), "plan", str(rehearsal_file), "--work", str(rehearsal.work)).stdout
    rows = [[cell.strip() for cell in re.split("[│|]", line)[1:-1]] for line in shown.splitlines()]
    to_do = {row[0] for row in rows if len(row) > 3 and row[3] == "to do"}
    entry = next(one for one in FAILURES_OF_RUNS if one.id == "latency-over-limit")
    assert to_do == set(made_again(entry.redo))
