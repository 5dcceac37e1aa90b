"""Lists and folders in ImageNet's layout: what is read, and what is refused with file and line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.benchmark.parts import ignore_progress
from mlperf_submission.errors import SourceError
from models.images import folder as imagenet_folder
from models.resnet50 import imagenet

JPEG = b"\xff\xd8 any compressed data \xff\xd9"


def _list(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "val_map.txt"
    path.write_text(text)
    return path


def test_blanks_and_tabs_separate_and_the_order_stays(tmp_path: Path) -> None:
    path = _list(tmp_path, "b.JPEG\t3\na.JPEG 0\nc.JPEG   9\n")
    images = imagenet_folder.read_list(path, classes=10, count=3)
    assert [(image.name, image.label) for image in images] == [("b.JPEG", 3), ("a.JPEG", 0), ("c.JPEG", 9)]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a.JPEG 1\nb.JPEG\n", 2, "not a file name and a class"),
        ("a.JPEG 1\n\nb.JPEG 2\n", 2, "not a file name and a class"),
        ("a.JPEG 1 2\n", 1, "not a file name and a class"),
        ("a.JPEG 1\nb.JPEG 10\n", 2, "'10' is not one of 0 to 9"),
        (f"a.JPEG {'9' * 5000}\n", 1, "is not one of 0 to 9"),
        ("a.JPEG -1\n", 1, "'-1' is not one of 0 to 9"),
        ("a.JPEG one\n", 1, "'one' is not one of 0 to 9"),
        ("a.JPEG 1\nb.JPEG 2\na.JPEG 3\n", 3, "already on line 1"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = _list(tmp_path, text)
    with pytest.raises(SourceError, match=said) as caught:
        imagenet_folder.read_list(path, classes=10, count=None)
    assert caught.value.where == f"{path}, line {line}"


@pytest.mark.parametrize("count", [None, 3])
def test_too_few_lines_are_refused(tmp_path: Path, count: int | None) -> None:
    with pytest.raises(SourceError, match="expected"):
        imagenet_folder.read_list(_list(tmp_path, "a.JPEG 1\n" if count else ""), classes=10, count=count)


def test_a_missing_or_binary_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        imagenet_folder.read_list(tmp_path / "none.txt", classes=10, count=None)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SourceError, match="cannot be read"):
        imagenet_folder.read_list(tmp_path / "binary.txt", classes=10, count=None)


def test_a_calibration_list_needs_no_classes_but_may_have_them(tmp_path: Path) -> None:
    path = _list(tmp_path, "a.JPEG\nb.JPEG 4\n")
    images = imagenet_folder.read_list(path, classes=10, count=None, labels=False)
    assert [image.label for image in images] == [None, 4]


@given(
    st.lists(
        st.tuples(st.from_regex(r"[A-Za-z0-9_.]{1,12}", fullmatch=True), st.integers(0, 999)),
        min_size=1,
        unique_by=lambda pair: pair[0],
    ),
    st.sampled_from([" ", "\t", "  "]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, int]], blank: str
) -> None:
    path = _list(tmp_path_factory.mktemp("list"), "".join(f"{name}{blank}{label}\n" for name, label in pairs))
    images = imagenet_folder.read_list(path, classes=1000, count=len(pairs))
    assert [(image.name, image.label) for image in images] == pairs


def test_the_calibration_list_is_the_official_one() -> None:
    text = imagenet.official_calibration_list()
    digest = hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - the owner's checksum
    assert digest == imagenet.CALIBRATION_LIST_MD5 == "f09719174af3553119e2c621157773a6"
    assert len(set(text.split())) == 500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(1, 31):
        (tmp_path / imagenet.imagenet_name(number)).write_bytes(JPEG)
    return tmp_path


def test_a_whole_folder_is_accepted_with_other_files_beside(folder: Path) -> None:
    (folder / "README.txt").write_text("mine")
    figures = imagenet.verify_imagenet(folder, 30, ignore_progress)
    assert figures["images"] == 30
    assert figures["bytes"] == 30 * len(JPEG)


def test_all_that_is_wrong_is_in_one_error(folder: Path) -> None:
    names = [imagenet.imagenet_name(number) for number in range(31)]
    (folder / names[1]).unlink()
    (folder / names[2]).write_bytes(b"")
    (folder / names[3]).write_bytes(JPEG[:-2])
    (folder / names[4]).write_bytes(b"GIF89a")
    (folder / names[5]).rename(folder / "ILSVRC2012_val_00000005.jpg")
    (folder / "n01440764").mkdir()
    (folder / names[6]).rename(folder / "n01440764" / names[6])
    (folder / "holiday.jpeg").write_bytes(JPEG)
    with pytest.raises(SourceError) as caught:
        imagenet.verify_imagenet(folder, 30, ignore_progress)
    said = caught.value.what
    assert "of 30 images 7 are not right" in said
    assert f"1 missing: {names[1]}" in said
    assert f"1 empty: {names[2]}" in said
    assert f"1 truncated (no end marker): {names[3]}" in said
    assert f"1 not a JPEG file (no start marker): {names[4]}" in said
    assert f"ILSVRC2012_val_00000005.jpg (should be {names[5]})" in said
    assert f"n01440764/{names[6]} (should be {names[6]})" in said
    assert "1 extra: holiday.jpeg" in said
    assert caught.value.where == str(folder)


def test_of_many_missing_images_the_first_twenty_are_named(folder: Path) -> None:
    with pytest.raises(SourceError) as caught:
        imagenet.verify_imagenet(folder, 500, ignore_progress)
    assert "470 missing" in caught.value.what
    assert "and 450 more" in caught.value.what
    assert caught.value.what.count("ILSVRC2012") == 20


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        imagenet.verify_imagenet(tmp_path / "imagenet", 30, ignore_progress)


def test_labels_that_are_not_the_official_ones_are_refused(folder: Path) -> None:
    lines = [f"{imagenet.imagenet_name(number)} 1\n" for number in range(1, 31)]
    (folder / "val_map.txt").write_text("".join(lines))
    with pytest.raises(SourceError, match="not the official labels"):
        imagenet.verify_imagenet(folder, 30, ignore_progress)
