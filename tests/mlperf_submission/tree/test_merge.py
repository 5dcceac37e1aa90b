"""Trees of several systems become one, or it is said what stands against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlperf_submission.errors import TreeError
from mlperf_submission.tree.merge import merge_trees
from mlperf_submission.tree.plan import CodeSource, TreePlan
from mlperf_submission.tree.write import write_tree

Trees = Callable[..., list[Path]]


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture
def trees(plan_of: Callable[..., TreePlan], description: dict[str, str | int], tmp_path: Path) -> Trees:
    """Two trees, written from real runs; the second is of the submitter that is given."""

    def make(submitter: str = "Us") -> list[Path]:
        code = tmp_path / "common.py"
        code.write_text("print('the same on both hosts')\n")
        source = CodeSource(path=code, name="common.py")
        places = []
        for system, whose in (("one_rehearsal", "Us"), ("two_rehearsal", submitter)):
            fields = {**description, "submitter": whose}
            plan = plan_of(system=system, submitter=whose, description=fields, result={"code": (source,)})
            write_tree(plan, tmp_path / system)
            places.append(tmp_path / system)
        return places

    return make


def test_two_systems_stand_side_by_side(trees: Trees, tmp_path: Path) -> None:
    places = trees()
    merged = merge_trees(places, tmp_path / "out")
    assert merged.submitter == "Us"
    assert merged.systems == ("closed/Us/one_rehearsal", "closed/Us/two_rehearsal")
    files, first, second = (files_of(place) for place in (tmp_path / "out", *places))
    assert merged.files == len(files)
    assert set(files) == set(first) | set(second)
    both = set(merged.joined)
    assert both == {
        "closed/Us/documentation/calibration.md",
        "closed/Us/code/resnet50/onnxruntime/README.md",
    }
    assert all(files[name] == (first | second)[name] for name in set(files) - both)
    for name in both:
        assert first[name] in files[name]
        assert second[name] in files[name]


def test_merging_again_gives_the_same_bytes(trees: Trees, tmp_path: Path) -> None:
    places = trees()
    merge_trees(places, tmp_path / "a")
    merge_trees(places, tmp_path / "b")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_tree_merged_with_itself_is_itself(trees: Trees, tmp_path: Path) -> None:
    first, _ = trees()
    assert merge_trees([first, first], tmp_path / "out").joined == ()
    assert files_of(tmp_path / "out") == files_of(first)


def test_every_conflict_is_named_and_nothing_is_written(trees: Trees, tmp_path: Path) -> None:
    first, second = trees()
    code = "closed/Us/code/resnet50/onnxruntime/common.py"
    (second / code).write_text("print('another version')\n")
    conf = "closed/Us/results/one_rehearsal/note.txt"
    for place, text in ((first, "1"), (second, "2")):
        (place / conf).parent.mkdir(parents=True, exist_ok=True)
        (place / conf).write_text(text)
    with pytest.raises(TreeError) as caught:
        merge_trees([first, second], tmp_path / "out")
    message = str(caught.value)
    assert "2 files differ" in message
    assert code in message
    assert conf in message
    assert str(second) in message
    assert "the same one and run them again" in message
    assert not (tmp_path / "out").exists()


def test_trees_of_two_submitters_are_refused(trees: Trees, tmp_path: Path) -> None:
    with pytest.raises(TreeError, match="one submitter, not 2: Them, Us"):
        merge_trees(trees("Them"), tmp_path / "out")


def test_what_is_no_tree_is_refused(trees: Trees, tmp_path: Path) -> None:
    first, second = trees()
    (tmp_path / "empty").mkdir()
    with pytest.raises(TreeError, match="no submission tree here"):
        merge_trees([first, tmp_path / "empty"], tmp_path / "out")
    (second / "closed" / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(TreeError, match="a link or special file"):
        merge_trees([first, second], tmp_path / "out")
    with pytest.raises(TreeError, match="the folder is not empty"):
        merge_trees([first, first], first)


def test_trees_of_v6_1_are_merged_with_their_measurements_beside_the_results(
    plan_of: Callable[..., TreePlan], description: dict[str, str | int], tmp_path: Path
) -> None:
    for system in ("one_rehearsal", "two_rehearsal"):
        fields = {**description, "system_type": "edge"}
        plan = plan_of(round="v6.1", system=system, system_type="edge", description=fields)
        write_tree(plan, tmp_path / system)
    places = [tmp_path / "one_rehearsal", tmp_path / "two_rehearsal"]
    merged = merge_trees(places, tmp_path / "out")
    assert merged.systems == ("closed/Us/one_rehearsal", "closed/Us/two_rehearsal")
    assert merged.joined == (
        "closed/Us/documentation/calibration.md",
        "closed/Us/src/resnet50/onnxruntime/README.md",
    )
    assert set(files_of(tmp_path / "out")) == set(files_of(places[0])) | set(files_of(places[1]))
