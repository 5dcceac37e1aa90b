"""Small stand-ins for what the owners publish and what a person brings, in the official layouts.

Each function makes one benchmark's, and returns its full edition with `file://` sources, their digests, and
as many samples as there are here; nothing else of the edition is changed.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mlperf_submission.benchmark.facts import Edition
from models.bert import data as bert
from models.bert.mini.files import write_vocabulary
from models.gptj import text as gptj_text
from models.gptj.mini import articles
from models.gptj.mini import files as gptj_files
from models.registry import get_benchmark
from models.resnet50 import imagenet
from models.resnet50.mini import digits
from models.retinanet.mini import files as retinanet_files
from models.retinanet.mini import shapes
from models.unet3d import cases as unet3d_cases
from models.unet3d.mini import rendering as volumes
from models.unet3d.mini.files import nifti

ARTICLES = 4
IMAGES = 6
SHAPES = 3
LONG_ARTICLE_WORDS = 4000


@dataclass(frozen=True)
class Official:
    """One benchmark's full edition made small.

    Attributes:
        own: the folder of a person, None where nothing has to be brought.
        sources: the folder that the sources lie in.
    """

    benchmark: str
    edition: Edition
    own: Path | None
    sources: Path


def resnet50(place: Path, monkeypatch: pytest.MonkeyPatch) -> Official:
    """Make ImageNet: images under their official names in one flat folder, labels in Caffe's archive."""
    own = place / "imagenet"
    own.mkdir()
    names, lines = [], []
    for number in range(1, IMAGES + 1):
        picture = digits.render("validation", number)
        names.append(imagenet.imagenet_name(number))
        (own / names[-1]).write_bytes(picture.jpeg)
        lines.append(f"{names[-1]} {picture.label}\n")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in (("synsets.txt", b"n01440764\n"), ("val.txt", "".join(lines).encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(imagenet, "official_calibration_list", lambda: f"{names[4]}\n{names[1]}\n")
    published = {"caffe_ilsvrc12.tar.gz": stream.getvalue()}
    return _published("resnet50", place, published, own, IMAGES)


def retinanet(place: Path, _: pytest.MonkeyPatch) -> Official:
    """Make OpenImages: both subsets' images, the annotations in a ZIP file, the calibration list."""
    own = place / "openimages"
    pictures = [shapes.render("validation", number) for number in range(SHAPES)]
    for subset in ("validation", "calibration"):
        (own / subset / "data").mkdir(parents=True)
    for number, picture in enumerate(pictures):
        (own / "validation" / "data" / retinanet_files.image_name(number)).write_bytes(picture.jpeg)
    (own / "calibration" / "data" / "dd51a1780bcb3d28.jpg").write_bytes(shapes.render("calibration", 0).jpeg)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("openimages-mlperf.json", json.dumps(retinanet_files.coco_annotations(pictures)))
    published = {
        "openimages-mlperf_annotations_2.1.json.zip": stream.getvalue(),
        "openimages_cal_images_list.txt": b"dd51a1780bcb3d28.jpg",
    }
    return _published("retinanet", place, published, own, SHAPES)


def bert_99(place: Path, monkeypatch: pytest.MonkeyPatch) -> Official:
    """Make SQuAD v1.1: two articles, one text of them empty, and a vocabulary."""
    context = "Ada Lovelace was born in London in 1815. She wrote the first program."
    answers = [{"answer_start": 25, "text": "London"}, {"answer_start": 25, "text": "London"}]
    questions = [
        {"id": f"{number:024x}", "question": question, "answers": answers}
        for number, question in enumerate(("Where was she born?", "In which city was Ada born?", "Where?"))
    ]
    data = [
        {"title": "Ada_Lovelace", "paragraphs": [{"context": context, "qas": questions[:2]}]},
        {"title": "Nothing", "paragraphs": [{"context": " \n", "qas": questions[2:]}]},
    ]
    write_vocabulary(place / "vocabulary")
    (place / "calibration").write_text("1\n0\n")
    monkeypatch.setattr(bert, "_CALIBRATION_LIST", place / "calibration")
    published = {
        "dev-v1.1.json": json.dumps({"data": data, "version": "1.1"}).encode(),
        "vocab.txt": (place / "vocabulary").read_bytes(),
    }
    return _published("bert-99", place, published, None, 2)


def unet3d(place: Path, monkeypatch: pytest.MonkeyPatch) -> Official:
    """Make a clone of KiTS19 with the images fetched, of two cases; case_00400 is not copied."""
    own = place / "kits19"
    for number, case in enumerate(("case_00185", "case_00047")):
        folder = own / "data" / case
        folder.mkdir(parents=True)
        volume = volumes.render("validation", number)
        thin = (slice(None, None, 3),) * 3
        x, y, z = volume.spacing
        spacing = (3 * x, 3 * y, 3 * z)
        (folder / "imaging.nii.gz").write_bytes(nifti(volume.image[thin], spacing))
        (folder / "segmentation.nii.gz").write_bytes(nifti(volume.label[thin], spacing))
    identities = "".join(
        f"{case} {unet3d_cases.git_identity(own / 'data' / case / 'segmentation.nii.gz')}\n"
        for case in ("case_00185", "case_00047")
    )
    (place / "identities").write_text(identities)
    monkeypatch.setattr(unet3d_cases, "_IDENTITIES", place / "identities")
    monkeypatch.setattr(unet3d_cases, "INFERENCE_CASES", ("case_00185", "case_00400"))
    monkeypatch.setattr(unet3d_cases, "CALIBRATION_CASES", ("case_00047",))
    return _published("3d-unet-99", place, {}, own, 2)


def gptj_99(place: Path, _: pytest.MonkeyPatch) -> Official:
    """Make CNN/DailyMail as the official script writes it, one article longer than the limit; a tokenizer."""
    own = place / "cnn_dailymail"
    own.mkdir()
    items = [gptj_files.news_item(one) for one in articles.articles("validation", ARTICLES)]
    items[2] = items[2].model_copy(update={"input": "word " * LONG_ARTICLE_WORDS})
    (own / "cnn_eval.json").write_bytes(gptj_text.as_json(iter(items)))
    published = {name: gptj_files.committed_file(name).read_bytes() for name in ("vocab.json", "merges.txt")}
    return _published("gptj-99", place, published, own, ARTICLES)


OFFICIAL: dict[str, Callable[[Path, pytest.MonkeyPatch], Official]] = {
    "resnet50": resnet50,
    "retinanet": retinanet,
    "bert-99": bert_99,
    "3d-unet-99": unet3d,
    "gptj-99": gptj_99,
}


def _published(
    benchmark: str, place: Path, files: dict[str, bytes], own: Path | None, samples: int
) -> Official:
    """Put the files where `file://` finds them; every source of the edition has to be among them."""
    folder = place / "published"
    folder.mkdir()
    full = get_benchmark(benchmark).facts.full
    assert {source.name for source in full.data} == set(files)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    data = tuple(
        replace(
            source,
            urls=((folder / source.name).as_uri(),),
            digest=f"sha256:{hashlib.sha256(files[source.name]).hexdigest()}",
            size=len(files[source.name]),
        )
        for source in full.data
    )
    return Official(benchmark, replace(full, data=data, sample_count=samples), own, folder)
