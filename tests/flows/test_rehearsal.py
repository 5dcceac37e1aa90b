"""The whole pipeline: from nothing to a checked run in S3, changed, killed.

That a second rehearsal repeats nothing, and that its run comes back from S3, tests/test_readme.py shows.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import yaml

from mlperf_submission.rounds import get_round
from mlperf_submission.submission.conf import check
from mlperf_submission.submission.detail_log import read_detail
from tests.conftest import PROGRAM, ROOT, Command, Rehearsal, hear_ctrl_c, shell
from tests.faults.flows import holding
from tests.planned import done_steps, left_to_do, shown_steps
from tests.small_system import prepared_folder

PREPARED = {"make_mini", "download", "preprocess", "quantize", "build_engine"}
MEASURED = {"probe", "performance", "accuracy", "test01", "test04", "test05"}
RESNET50 = (str(PROGRAM), "run", "rehearsal", "--models", "resnet50", "--scenarios", "Offline")


def test_it_ends_with_results_verdict_page_and_address(rehearsal: Rehearsal) -> None:
    assert {step for _, step, _ in shown_steps(rehearsal.output)} >= PREPARED | MEASURED | {
        "package",
        "upload",
    }
    assert "REHEARSAL, NOT A RESULT" in rehearsal.output
    assert "rehearsal accepted by the rules of v4.1: 9 of 9 results, 0 errors" in rehearsal.output
    assert f"s3://mlperf/rehearsals/rehearsal/{rehearsal.run}" in rehearsal.output
    page = (rehearsal.place / "page" / "index.html").read_text()
    assert "Throughput over time, resnet Offline" in page
    assert f"{psutil.virtual_memory().total / 2**30:.1f} GiB" in page, "the page describes this machine"
    assert "for a submission a person fills in: " in page


def test_the_tree_is_no_submission_for_whoever_is_not_told_that_it_is_a_rehearsal(
    command: Command, rehearsal: Rehearsal
) -> None:
    tree = str(rehearsal.place / "tree")
    kept = command("validate", tree, "--rehearsal")
    assert kept.returncode == 0
    assert "P-06: 25 runs of 2 s instead of 600 s, by design" in kept.stdout
    assert kept.stdout.count("P-06") == 1, "each fact of a rehearsal is said once"
    refused = command("validate", tree)
    assert refused.returncode == 1
    assert "P-06" in refused.stdout
    page = (rehearsal.place / "page" / "index.html").read_text()
    assert "rehearsal" in page.lower()
    assert rehearsal.manifest()["rehearsal"] is True


def test_conf_files_are_those_of_the_run_beside_them(rehearsal: Rehearsal) -> None:
    submitter = rehearsal.place / "tree" / "closed" / "Rehearsal"
    places = sorted((submitter / "results" / "rehearsal").glob("*/*"))
    assert len(places) == 9
    seeds = get_round("v4.1").seeds
    for place in places:
        benchmark, scenario = place.parent.name, place.name
        log = read_detail(place / "performance" / "run_1" / "mlperf_log_detail.txt")
        measurements = submitter / "measurements" / "rehearsal" / benchmark / scenario
        confs = [(measurements / name).read_text() for name in ("user.conf", "mlperf.conf")]
        assert check(confs[0], confs[1], log, benchmark) == []
        assert log.values["effective_qsl_rng_seed"] == seeds.qsl
        assert log.values["effective_schedule_rng_seed"] == seeds.schedule


def test_each_run_that_the_round_asks_for_is_in_the_tree(rehearsal: Rehearsal) -> None:
    submitter = rehearsal.place / "tree" / "closed" / "Rehearsal"
    logs = [
        path.relative_to(submitter).parts
        for folder in ("results", "compliance")
        for path in (submitter / folder).rglob("mlperf_log_summary.txt")
    ]
    measured = sum(part[0] == "results" for part in logs)
    audited = sum(part[0] == "compliance" for part in logs)
    # resnet50 has TEST01, 04 and 05, retinanet, bert and 3d-unet have TEST01 and 05; gptj has none.
    assert (measured, audited) == (2 * 9, 2 * 3 + 5 * 2)


def test_the_plan_of_an_empty_folder_is_what_a_rehearsal_does(rehearsal: Rehearsal, tmp_path: Path) -> None:
    assert left_to_do(tmp_path, "rehearsal") == done_steps(rehearsal.output)


def test_a_changed_setting_repeats_exactly_what_stands_on_it(
    rehearsal: Rehearsal, rehearsal_file: Path
) -> None:
    content = yaml.safe_load(rehearsal_file.read_text())
    content["benchmarks"]["resnet50"]["Server"]["max_wait_us"] = 1500
    rehearsal_file.write_text(yaml.safe_dump(content))
    planned = left_to_do(rehearsal.work, rehearsal_file)
    changed = shell(str(PROGRAM), "run", str(rehearsal_file), "--work", str(rehearsal.work))
    assert changed.returncode == 0, changed.stdout + changed.stderr
    server = {(step, "resnet50 Server") for step in MEASURED - {"probe"}}
    delivered = {(step, "rehearsal") for step in ("package", "validate", "report", "upload")}
    assert done_steps(changed.stdout) == planned == server | delivered
    assert "tuning.max_wait_us: 1000 -> 1500" in changed.stdout


def test_no_key_is_left_in_logs_or_records(rehearsal: Rehearsal) -> None:
    texts = [
        path for path in rehearsal.work.rglob("*") if path.suffix in (".log", ".json") and path.is_file()
    ]
    assert texts
    for path in texts:
        text = path.read_text(errors="replace")
        assert "AKIA" not in text and "secret_key" not in text, path


@pytest.fixture
def work(rehearsal: Rehearsal, tmp_path: Path) -> Path:
    """A work folder where resnet50 is prepared, and its performance is measured."""
    return prepared_folder(tmp_path / "work", rehearsal.work, (*PREPARED, "probe", "performance"))


def measuring_again(work: Path) -> tuple[psutil.Popen, list[psutil.Process]]:
    """Start a command that measures again; return it and its family when LoadGen is at work."""
    command = [*RESNET50, "--work", str(work), "--measure-again"]
    flow = psutil.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    return flow, wait_for_measurement(flow)


def test_after_kill_9_in_a_performance_run_the_same_command_finishes_and_says_what_a_submission_needs(
    work: Path,
) -> None:
    flow, family = measuring_again(work)
    flow.send_signal(signal.SIGKILL)
    flow.wait()
    _, alive = psutil.wait_procs(family, timeout=120)
    assert alive == [], "the flow's children outlived it"
    planned = left_to_do(work, "rehearsal", "resnet50", scenarios=["Offline"])
    again = shell(*RESNET50, "--work", str(work))
    assert again.returncode == 0, again.stdout + again.stderr
    assert done_steps(again.stdout) == planned
    assert not {step for step, _ in planned} & PREPARED
    assert ("performance", "resnet50 Offline") in planned
    with closing(sqlite3.connect(work / "prefect" / "prefect.db")) as database:
        states = database.execute("select state_name from flow_run where parent_task_run_id is null")
        assert sorted(states) == [("Completed",), ("Crashed",)]
    assert "1 of 1 results, 0 errors" in again.stdout
    assert "a submission needs Server of resnet50 too (rule M-05)" in again.stdout


def wait_for_measurement(flow: psutil.Popen) -> list[psutil.Process]:
    """Wait until LoadGen's child works for the performance run; return the whole family."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        family = flow.children(recursive=True)
        for process in family:
            try:
                if process.name() == "harness.child" and "performance" in process.cwd():
                    time.sleep(0.5)
                    return family
            except psutil.Error:
                continue
        assert flow.poll() is None, flow.stdout and flow.stdout.read()
        time.sleep(0.05)
    raise AssertionError("no performance run was started")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_ends_at_once_and_says_how_to_go_on(work: Path, number: signal.Signals) -> None:
    flow, family = measuring_again(work)
    flow.send_signal(number)
    output, _ = flow.communicate(timeout=600)
    assert flow.returncode == 130
    assert "finished steps are kept" in output
    _, alive = psutil.wait_procs(family, timeout=120)
    assert alive == []
    assert holding([flow, *family]) == []
