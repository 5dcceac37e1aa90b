"""Images by id out of a bucket that a small server stands for: resumed, checked, the missing ones named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.errors import SourceError
from models.registry import get_benchmark
from tasks.fetch_openimages import fetch_images, wanted_images
from tests.models.retinanet.mini import make_dataset
from tests.web import web_server


@pytest.fixture
def bucket(tmp_path: Path) -> tuple[Path, Path, Edition]:
    """A bucket's folder, the folder with the lists, and an edition of five images."""
    dataset, _ = make_dataset(tmp_path / "made", 5)
    served = tmp_path / "bucket"
    served.mkdir()
    (dataset / "validation" / "data").rename(served / "validation")
    (dataset / "calibration" / "data").rename(served / "train")
    lists = tmp_path / "lists"
    lists.mkdir()
    (dataset / "annotations").rename(lists / "annotations")
    (lists / "openimages_cal_images_list.txt").write_text("aa.jpg")
    return served, lists, replace(get_benchmark("retinanet").facts.full, sample_count=5)


def test_the_images_of_both_subsets_arrive_once(bucket: tuple[Path, Path, Edition], tmp_path: Path) -> None:
    served, lists, edition = bucket
    folder = tmp_path / "mine"
    images = wanted_images(folder, lists, edition)
    assert [image.key for image in images][-2:] == [f"validation/{4:016x}.jpg", "train/aa.jpg"]
    seen: list[tuple[int, int]] = []
    with web_server(served) as address:
        assert fetch_images(images, bucket=address, on_progress=lambda *one: seen.append(one)) == 6
        assert seen[-1] == (6, 6)
        assert fetch_images(images, bucket=address) == 0
        damaged = folder / "calibration" / "data" / "aa.jpg"
        damaged.write_bytes(damaged.read_bytes()[:100])
        assert fetch_images(images, bucket=address) == 1
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
    assert found == {"calibration/data/aa.jpg", *(f"validation/data/{index:016x}.jpg" for index in range(5))}
    assert damaged.read_bytes() == (served / "train" / "aa.jpg").read_bytes()


def test_what_the_bucket_lacks_is_named_after_the_others_were_fetched(
    bucket: tuple[Path, Path, Edition], tmp_path: Path
) -> None:
    served, lists, edition = bucket
    (served / "validation" / f"{0:016x}.jpg").unlink()
    (served / "validation" / f"{1:016x}.jpg").write_bytes(b"<html>not found</html>")
    images = wanted_images(tmp_path / "mine", lists, edition)
    with web_server(served) as address, pytest.raises(SourceError, match="2 of 6 images") as caught:
        fetch_images(images, bucket=address)
    assert f"{0:016x}.jpg" in str(caught.value)
    assert "is not a JPEG file" in str(caught.value)
    assert sum(image.path.is_file() for image in images) == 4


def test_a_name_that_leads_out_of_the_folder_is_refused(
    bucket: tuple[Path, Path, Edition], tmp_path: Path
) -> None:
    _, lists, edition = bucket
    (lists / "openimages_cal_images_list.txt").write_text("../../aa.jpg\n")
    with pytest.raises(SourceError, match="would leave its folder"):
        wanted_images(tmp_path / "mine", lists, edition)
