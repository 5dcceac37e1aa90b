"""Preprocessing in parallel against the reference's way: one sample after the other, each saved to a file.

The steps are those of MLPerf Inference v4.1: vision/classification_and_detection/python (dataset.py,
imagenet.py, openimages.py), language/gpt-j/dataset.py, vision/medical_imaging/3d-unet-kits19/preprocess.py.
bert-99 is not compared: its tokenizer works serially here as there.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlperf_submission.benchmark.parts import Preprocessing
from tools.benchmarks.mini import PairedRates, PreparedEdition

Steps = Callable[[PreparedEdition], Iterator[Any]]


def against_reference(prepared: PreparedEdition, work: Path, *, repeats: int) -> PairedRates:
    """Measure our preprocessing in FP32 against the reference's steps, in turn; rates in samples/s."""
    plain: list[float] = []
    ours: list[float] = []
    for _ in range(repeats):
        plain.append(_rate(prepared, work, lambda folder: _reference(prepared, folder)))
        ours.append(_rate(prepared, work, lambda folder: _ours(prepared, folder)))
    ratio = statistics.median(our / one for one, our in zip(plain, ours, strict=True))
    return PairedRates(statistics.median(plain), statistics.median(ours), ratio)


def _rate(prepared: PreparedEdition, work: Path, run: Callable[[Path], None]) -> float:
    folder = work / "preprocessed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sync()  # what was written before is not to be paid for now
    started = time.perf_counter()
    run(folder)
    rate = prepared.edition.sample_count / (time.perf_counter() - started)
    shutil.rmtree(folder)
    return rate


def _ours(prepared: PreparedEdition, folder: Path) -> None:
    prepared.benchmark.data.preprocess(
        Preprocessing(
            prepared.dataset,
            folder,
            edition=prepared.edition,
            subset="validation",
            precision="fp32",
            workers=os.cpu_count() or 1,
        )
    )


def _reference(prepared: PreparedEdition, folder: Path) -> None:
    for number, sample in enumerate(REFERENCE[prepared.benchmark.name](prepared)):
        np.save(folder / f"{number}.npy", sample)


def _resnet50(prepared: PreparedEdition) -> Iterator[Any]:
    import cv2

    for path in sorted((prepared.dataset / "validation").rglob("*.JPEG")):
        image = cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
        height, width, _ = image.shape
        short = 256
        size = (
            (short, int(short * height / width)) if height > width else (int(short * width / height), short)
        )
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
        pixels = image[top : top + 224, left : left + 224].astype(np.float32)
        pixels -= np.array([123.68, 116.78, 103.94], np.float32)
        yield pixels.transpose(2, 0, 1)


def _retinanet(prepared: PreparedEdition) -> Iterator[Any]:
    import cv2

    for path in sorted((prepared.dataset / "validation").rglob("*.jpg")):
        image = cv2.cvtColor(np.asarray(cv2.imread(str(path))).astype(np.float32), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, (800, 800), interpolation=cv2.INTER_LINEAR)
        yield (image / np.float32(255)).transpose(2, 0, 1)


def _gptj(prepared: PreparedEdition) -> Iterator[Any]:
    from models.gptj import text
    from models.gptj.articles import articles_of

    tokenizer = text.open_tokenizer(prepared.dataset)
    limit = text.prompt_limit(prepared.dataset)
    for item in articles_of(prepared.dataset, prepared.edition, "validation"):
        encoded = tokenizer.encode(text.prompt_of(item), add_special_tokens=False)
        yield np.array(encoded.ids[:limit], np.int32)


def _unet3d(prepared: PreparedEdition) -> Iterator[Any]:
    from models.unet3d.cases import case_folder, cases_of
    from models.unet3d.facts import IMAGE
    from models.unet3d.volumes import prepare_image, read_image

    cases = cases_of(prepared.edition, "validation")
    for case in cases:
        yield prepare_image(read_image(case_folder(prepared.dataset, case) / IMAGE))


REFERENCE: Mapping[str, Steps] = {
    "resnet50": _resnet50,
    "retinanet": _retinanet,
    "gptj-99": _gptj,
    "3d-unet-99": _unet3d,
}
