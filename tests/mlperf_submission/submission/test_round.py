"""The round of a tree is read from its logs, or it is said why it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlperf_submission.errors import TreeError
from mlperf_submission.rounds import get_round
from mlperf_submission.submission.round import round_of
from mlperf_submission.validation import validate_tree
from tests.mlperf_submission.validation.sample_later import build_later
from tests.mlperf_submission.validation.sample_submission import Submission, build

TIN = "closed/Acme/results/tin/resnet50"


def seed(submission: Submission, run: str, round_name: str | None) -> None:
    """Give a run the seeds of a round, or seeds and a LoadGen of none."""
    seeds = get_round(round_name).seeds if round_name else None
    submission.log(
        run,
        loadgen_version=f"{round_name.removeprefix('v')} @ x" if round_name else "9.9 @ x",
        effective_qsl_rng_seed=seeds.qsl if seeds else 1,
        effective_sample_index_rng_seed=seeds.sample_index if seeds else 2,
        effective_schedule_rng_seed=seeds.schedule if seeds else 3,
    )


@pytest.mark.parametrize("round_name", ["v5.1", "v6.0"])
def test_the_seeds_of_most_logs_decide(tmp_path: Path, round_name: str) -> None:
    submission = build_later(tmp_path / "tree", round_name, "tin")
    assert round_of(submission.root) == round_name
    seed(submission, f"{TIN}/Offline/performance/run_1", "v4.1")
    assert round_of(submission.root) == round_name
    verdict = validate_tree(submission.root, round_name)
    assert {failure.rule for failure in verdict.errors} == {"P-05"}


def test_logs_of_several_rounds_are_named(tmp_path: Path) -> None:
    submission = build(tmp_path / "tree", "box")
    seed(submission, "closed/Acme/results/box/resnet50/Offline/performance/run_1", "v5.0")
    with pytest.raises(
        TreeError, match=r"several rounds: v4\.1: 1 logs.*; v5\.0: 1 logs, as closed/Acme"
    ) as caught:
        round_of(submission.root)
    assert "--round" in caught.value.remedy


def test_loadgen_decides_where_no_seeds_do_and_the_unknown_is_said(tmp_path: Path) -> None:
    submission = build(tmp_path / "tree", "box")
    for scenario in ("Offline", "Server"):
        run = f"closed/Acme/results/box/resnet50/{scenario}/performance/run_1"
        submission.log(run, effective_qsl_rng_seed=1)
    assert round_of(submission.root) == "v4.1"
    for scenario in ("Offline", "Server"):
        seed(submission, f"closed/Acme/results/box/resnet50/{scenario}/performance/run_1", None)
    with pytest.raises(TreeError, match="of no known round: closed/Acme"):
        round_of(submission.root)


def test_results_without_logs_have_no_round_and_no_results_have_any(tmp_path: Path) -> None:
    assert not validate_tree(tmp_path, round_of(tmp_path)).ok
    (tmp_path / "closed/Acme/results/box/resnet50/Offline").mkdir(parents=True)
    with pytest.raises(TreeError, match="no performance log"):
        round_of(tmp_path)


def test_a_tree_of_another_round_is_said_to_be_that(tmp_path: Path) -> None:
    submission = build_later(tmp_path / "tree", "v6.0", "tin")
    failures = validate_tree(submission.root, "v6.1").failures
    (told,) = [failure for failure in failures if failure.rule == "+another-round"]
    assert (told.severity, told.path) == ("error", ".")
    assert "a tree of v6.0" in told.message


def test_validate_reads_the_round_where_none_is_named(tmp_path: Path) -> None:
    submission = build_later(tmp_path / "tree", "v6.0", "tin")
    run = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "validate", str(submission.root)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "accepted by the rules of v6.0" in run.stdout
