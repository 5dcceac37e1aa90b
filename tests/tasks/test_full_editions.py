"""The full editions' own way in: published files are fetched, a person's folder is linked, checked and read.

The data are small stand-ins in the official layouts (`official.py`); all else is the full edition's code.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlperf_submission.benchmark.answer import Samples
from mlperf_submission.benchmark.facts import Precision, Subset
from mlperf_submission.benchmark.parts import Benchmark, Preprocessing, ignore_progress
from mlperf_submission.errors import SourceError
from mlperf_submission.fetch.sources import fetch_all
from mlperf_submission.steps.cache import StepRecord
from models.registry import benchmark_names, get_benchmark
from models.unet3d.mini import rendering as volumes
from models.unet3d.mini.files import nifti
from tasks.download import assemble_dataset
from tasks.engine.perform import perform
from tasks.workspace import Workspace
from tests.tasks.official import OFFICIAL, Official


@dataclass(frozen=True)
class Entry:
    qsl_idx: int
    data: bytes


@dataclass(frozen=True)
class Laid:
    """A small full edition as `flows.prepare` lays it out for verification and preprocessing."""

    official: Official
    dataset: Path
    place: Path

    @property
    def benchmark(self) -> Benchmark:
        return get_benchmark(self.official.benchmark)

    @property
    def own(self) -> Path:
        assert self.official.own
        return self.official.own

    def verify(self) -> dict[str, object]:
        return self.benchmark.data.verify(self.dataset, self.official.edition, ignore_progress)

    def preprocess(self, subset: Subset = "validation", precision: Precision = "int8") -> Samples:
        output = self.place / f"samples of {subset}"
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        self.benchmark.data.preprocess(
            Preprocessing(
                self.dataset,
                output,
                edition=self.official.edition,
                subset=subset,
                precision=precision,
                workers=2,
            )
        )
        return self.benchmark.data.open(output)


def lay_out(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> Laid:
    official = OFFICIAL[name](place, monkeypatch)
    downloads = place / "downloads"
    downloads.mkdir()
    fetch_all(official.edition.data, downloads)
    licensed = official.edition.licensed
    if licensed is None:
        return Laid(official, downloads, place)
    record = StepRecord(
        step="download",
        label=name,
        key="0" * 64,
        inputs={},
        folder=downloads,
        files=[],
        figures={},
        created=datetime(2024, 7, 1, tzinfo=UTC),
        seconds=0,
    )
    linking = assemble_dataset(name, name, record, licensed, {licensed.key: official.own or Path()})
    return Laid(official, perform(Workspace(root=place / "work"), linking).value, place)


@pytest.fixture
def laid(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laid:
    return lay_out(request.param, tmp_path, monkeypatch)


def of(name: str) -> pytest.MarkDecorator:
    """Ask for the small full edition of one benchmark."""
    return pytest.mark.parametrize("laid", [name], indirect=True)


@pytest.mark.parametrize("laid", benchmark_names(), indirect=True)
def test_what_is_published_and_brought_becomes_samples(laid: Laid) -> None:
    assert laid.verify()
    samples = laid.preprocess()
    assert len(samples) == laid.official.edition.sample_count
    calibration = laid.preprocess("calibration")
    wanted = {"resnet50": 2, "retinanet": 1, "bert-99": 2, "3d-unet-99": 1, "gptj-99": 0}
    assert len(calibration) == wanted[laid.official.benchmark]


@of("resnet50")
def test_imagenet_s_labels_come_from_caffe_s_archive(laid: Laid) -> None:
    labels = [int(line.split()[1]) for line in (laid.dataset / "labels" / "val.txt").read_text().splitlines()]
    entries = [Entry(index, np.int32(label).tobytes()) for index, label in enumerate(labels)]
    assert laid.benchmark.scorer.score(entries, laid.dataset, laid.official.edition).metrics == {"acc": 100.0}


@of("3d-unet-99")
def test_the_case_that_the_reference_copies_is_read_where_it_was_not_copied(laid: Laid) -> None:
    samples: Any = laid.preprocess()
    np.testing.assert_array_equal(samples.volume(0), samples.volume(1))


def remove(*parts: str) -> Callable[[Laid], None]:
    return lambda laid: laid.own.joinpath(*parts).unlink()


def cut(*parts: str) -> Callable[[Laid], None]:
    def damage(laid: Laid) -> None:
        path = laid.own.joinpath(*parts)
        path.write_bytes(path.read_bytes()[:-200])

    return damage


def empty_inside(*parts: str) -> Callable[[Laid], None]:
    """Keep a JPEG file's two ends, and nothing of what is between them."""

    def damage(laid: Laid) -> None:
        path = laid.own.joinpath(*parts)
        content = path.read_bytes()
        path.write_bytes(content[:2] + bytes(len(content) - 4) + content[-2:])

    return damage


FIRST, THIRD = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000003.JPEG"
SHAPE = ("validation", "data", f"{1:016x}.jpg")


@pytest.mark.parametrize(
    ("laid", "damage", "verifying", "preprocessing"),
    [
        ("resnet50", remove(THIRD), f"1 missing: {THIRD}", "cannot be read: No such file"),
        ("resnet50", cut(FIRST), f"1 truncated .*: {FIRST}", "is truncated"),
        ("resnet50", empty_inside(FIRST), None, "cannot be decoded"),
        ("retinanet", remove(*SHAPE), f"1 missing: {SHAPE[-1]}", "cannot be read: No such file"),
        ("retinanet", cut(*SHAPE), f"1 truncated .*: {SHAPE[-1]}", "is truncated"),
        ("retinanet", empty_inside(*SHAPE), None, "cannot be decoded"),
        (
            "3d-unet-99",
            cut("data", "case_00185", "imaging.nii.gz"),
            "case_00185/imaging.nii.gz: ",
            "cannot be",
        ),
        ("3d-unet-99", remove("data", "case_00047", "imaging.nii.gz"), "the file is missing", None),
        ("gptj-99", remove("cnn_eval.json"), "the articles cannot be read", "the articles cannot be read"),
        ("gptj-99", cut("cnn_eval.json"), "Invalid JSON", "Invalid JSON"),
    ],
    indirect=["laid"],
)
def test_files_that_are_missing_or_damaged_are_named(
    laid: Laid, damage: Callable[[Laid], None], verifying: str | None, preprocessing: str | None
) -> None:
    """Verification looks at a picture's two ends; what only decoding can tell, preprocessing does."""
    damage(laid)
    for step, said in ((laid.verify, verifying), (laid.preprocess, preprocessing)):
        if said is None:
            assert step()
        else:
            with pytest.raises(SourceError, match=said) as caught:
                step()
            assert caught.value.remedy


@of("retinanet")
@pytest.mark.parametrize(("key", "said"), [("image_id", "of image 99"), ("category_id", "of category 99")])
def test_an_annotation_without_its_image_or_category_is_refused(laid: Laid, key: str, said: str) -> None:
    path = laid.dataset / "annotations" / "openimages-mlperf.json"
    content = json.loads(path.read_text())
    content["annotations"][1][key] = 99
    path.write_text(json.dumps(content))
    for step in (laid.verify, laid.preprocess):
        with pytest.raises(SourceError, match=f"annotation 2 is {said}, which is not in the file"):
            step()


@of("3d-unet-99")
def test_a_nifti_file_of_another_shape_is_refused(laid: Laid) -> None:
    folder = laid.own / "data" / "case_00185"
    volume = volumes.render("validation", 0)
    (folder / "segmentation.nii.gz").write_bytes(nifti(volume.label[::3, ::3, 3::3], volume.spacing))
    with pytest.raises(SourceError, match="2 of 3 cases cannot be used: case_00185/segmentation"):
        laid.verify()
    flat = nifti(volume.image[:2, :2, :1], volume.spacing)
    (folder / "imaging.nii.gz").write_bytes(flat)
    for step in (laid.verify, laid.preprocess):
        with pytest.raises(SourceError, match="2×2×1 values, not a volume of three axes"):
            step()


@of("3d-unet-99")
def test_a_file_that_is_no_nifti_is_refused(laid: Laid) -> None:
    (laid.own / "data" / "case_00185" / "imaging.nii.gz").write_bytes(gzip.compress(bytes(400)))
    with pytest.raises(SourceError, match="cannot be read"):
        laid.preprocess()


@of("bert-99")
def test_a_question_on_an_empty_context_has_no_sample_and_counts_as_unanswered(laid: Laid) -> None:
    """As in the reference: no window is cut, and every question is in the divisor."""
    samples: Any = laid.preprocess()
    assert len(samples) == 2
    entries = []
    for index in range(2):
        logits = np.zeros((int(samples.costs[index]), 2), "<f4")
        first = int(samples.batch(np.array([index]))["segment_ids"][0].argmax())
        logits[first + 5] = 9.0  # the sixth piece of the text
        entries.append(Entry(index, logits.tobytes()))
    score = laid.benchmark.scorer.score(entries, laid.dataset, laid.official.edition)
    assert score.samples == 2
    assert score.metrics["F1"] <= 100 * 2 / 3


@of("bert-99")
def test_questions_of_another_version_are_refused(laid: Laid) -> None:
    path = laid.dataset / "dev-v1.1.json"
    content = json.loads(path.read_text())
    content["data"][0]["paragraphs"][0]["qas"][0]["answers"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(SourceError, match="has no answer") as caught:
        laid.preprocess()
    assert "not v2.0" in caught.value.remedy


@of("gptj-99")
def test_an_article_longer_than_the_limit_loses_its_end_as_in_the_reference(laid: Laid) -> None:
    samples: Any = laid.preprocess(precision="fp16")
    prompts = samples.prompts(np.arange(4))
    assert len(prompts[2]) == samples.facts.limit == 1919
    assert samples.facts.cut == 1
    assert max(len(prompts[index]) for index in (0, 1, 3)) < 400


@of("gptj-99")
def test_an_empty_article_is_refused(laid: Laid) -> None:
    path = laid.own / "cnn_eval.json"
    content = json.loads(path.read_text())
    content[1]["input"] = " "
    path.write_text(json.dumps(content))
    for step in (laid.verify, laid.preprocess):
        with pytest.raises(SourceError, match="item 1 has no article"):
            step()
