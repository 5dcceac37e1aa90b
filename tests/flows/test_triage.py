"""A failure leaves the flow with its cause and with what is done again; and that is what is done again."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import yaml

from mlperf_submission.failures import table
from mlperf_submission.store.embedded import embedded_s3
from tasks.engine.spec import made_again
from tests.conftest import PROGRAM, Command, Rehearsal, shell


def test_a_refused_tree_says_why_on_the_terminal_and_on_the_page(
    command: Command, rehearsal: Rehearsal, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(rehearsal.place / "tree", tree)
    (tree / "closed/Rehearsal/results/rehearsal/resnet50/Offline/accuracy/accuracy.txt").unlink()
    judged = command("validate", str(tree), "--rehearsal")
    assert judged.returncode == 1
    redo = "package, validate, report, upload"
    assert "accuracy.txt is missing" in judged.stdout and f"Done again: {redo}" in judged.stdout
    made = command("report", str(tree), "--system", "rehearsal", "--out", str(tmp_path / "page"))
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "page" / "index.html").read_text()
    assert "<span>Done again</span>" in page and redo in page


def test_a_store_that_cannot_be_used_ends_the_run_at_its_start_and_says_why_wherever_one_looks(
    rehearsal_file: Path, tmp_path: Path
) -> None:
    work, secret = tmp_path / "work", "a-wrong-secret-of-some-length"
    with embedded_s3(tmp_path / "s3", tmp_path / "s3.log") as endpoint:
        content = yaml.safe_load(rehearsal_file.read_text())
        content["store"] = {"bucket": "mlperf", "endpoint_url": endpoint.url}
        rehearsal_file.write_text(yaml.safe_dump(content))
        done = shell(
            *(str(PROGRAM), "run", str(rehearsal_file), "--work", str(work)),
            AWS_ACCESS_KEY_ID=endpoint.access_key,
            AWS_SECRET_ACCESS_KEY=secret,
        )
    assert done.returncode == 1
    with closing(sqlite3.connect(work / "prefect" / "prefect.db")) as database:
        states = database.execute("select message from flow_run_state where type = 'FAILED'").fetchall()
        logs = database.execute("select message from log").fetchall()
    for text in ("refuses the access key", "What to do: ", "Cause: ", "Done again: upload"):
        assert text in done.stderr
        assert any(text in message for (message,) in states)
        assert any(text in message for (message,) in logs)
    assert secret not in f"{done.stdout}{done.stderr}{states}{logs}"
    assert not (work / "cache").exists(), "work was done before the store was looked at"


def test_a_new_target_repeats_exactly_the_steps_that_the_table_names(
    command: Command, rehearsal: Rehearsal, rehearsal_file: Path
) -> None:
    content = yaml.safe_load(rehearsal_file.read_text())
    content["benchmarks"]["resnet50"]["Server"]["target_qps"] = 35
    rehearsal_file.write_text(yaml.safe_dump(content))
    shown = command("plan", str(rehearsal_file), "--work", str(rehearsal.work)).stdout
    rows = [[cell.strip() for cell in re.split("[│|]", line)[1:-1]] for line in shown.splitlines()]
    to_do = {row[0] for row in rows if len(row) > 3 and row[3] == "to do"}
    assert to_do == {step.name for step in made_again(table().codes["latency-over-limit"].redo)}
