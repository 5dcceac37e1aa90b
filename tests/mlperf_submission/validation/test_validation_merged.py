"""A tree that was merged is judged as one, with the verdicts that its parts had."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.page.fleet import write_fleet
from mlperf_submission.tree.merge import merge_trees
from mlperf_submission.validation import validate_tree
from tests.mlperf_submission.validation.sample_submission import build


def test_trees_that_are_accepted_are_accepted_as_one(tmp_path: Path) -> None:
    parts = [build(tmp_path / name, name).root for name in ("box", "tin")]
    merge_trees(parts, tmp_path / "merged")
    verdict = validate_tree(tmp_path / "merged", "v4.1")
    assert verdict.ok, verdict.errors
    alone = [validate_tree(part, "v4.1") for part in parts]
    assert set(verdict.results) == {result for one in alone for result in one.results}
    page = write_fleet(tmp_path / "merged", tmp_path / "page", round_name="v4.1", verdict=verdict)
    text = page.read_text()
    assert "box" in text
    assert "tin" in text


def test_one_part_that_is_refused_refuses_the_whole(tmp_path: Path) -> None:
    box, tin = (build(tmp_path / name, name) for name in ("box", "tin"))
    (tin.root / "closed/Acme/results/tin/resnet50/Offline/accuracy/accuracy.txt").unlink()
    merge_trees([box.root, tin.root], tmp_path / "merged")
    verdict = validate_tree(tmp_path / "merged", "v4.1")
    assert not verdict.ok
    assert {(one.system, one.scenario) for one in verdict.results if not one.ok} == {("tin", "Offline")}
