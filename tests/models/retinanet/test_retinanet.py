"""retinanet through the benchmark's interface: sources, inputs and outputs, responses, score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import Preprocessing, ignore_progress
from mlperf_submission.errors import LogError, SourceError
from models.images.arrays import ArraySamples
from models.retinanet.anchors import BASE_SIZES, anchors
from models.retinanet.answer import ANSWER
from models.retinanet.heads import head_names
from tests.models.retinanet.mini import RETINANET, Entry, detected, make_dataset, responses_of, truth_rows
from tests.models.samples import Nothing

SAMPLES = 12

_Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Edition]:
    return make_dataset(tmp_path_factory.mktemp("openimages"), SAMPLES)


@pytest.fixture(scope="module")
def truth(made: tuple[Path, Edition]) -> dict[str, Any]:
    import json

    loaded: dict[str, Any] = json.loads((made[0] / "annotations" / "openimages-mlperf.json").read_text())
    return loaded


def _exact(truth: dict[str, Any], indices: Iterable[int]) -> list[Entry]:
    return [Entry(index, truth_rows(truth, index).tobytes()) for index in indices]


def _nothing(count: int, sides: Iterable[int] = tuple(BASE_SIZES), classes: int = 264) -> dict[str, _Floats]:
    outputs = {}
    for side in sides:
        names = head_names(side)
        outputs[names[0]] = np.full((count, 9 * classes, side, side), -12, np.float32)
        outputs[names[1]] = np.zeros((count, 36, side, side), np.float32)
    return outputs


def test_the_full_edition_names_the_official_sources() -> None:
    edition = RETINANET.facts.full
    assert edition.sample_count == 24_781
    assert edition.network.name == "resnext50_32x4d_fpn.onnx"
    assert edition.network.digest == "md5:4544f4e56e0a4684215831cc937ea45c"
    assert [source.digest for source in edition.data] == [
        "md5:817fd8da3aeeb0575f1e2d2926b15e68",
        "md5:5c3196ddcec4605c6a9fcf004d9615e6",
    ]
    assert edition.licensed is not None
    assert edition.licensed.key == "openimages"


def test_int8_samples_feed_the_int8_network_only() -> None:
    assert RETINANET.network.inputs("int8")[0].dtype == "int8"
    assert RETINANET.network.inputs("int8")[0].scale == pytest.approx(2.64064 / 127)
    assert RETINANET.network.inputs("fp16") == RETINANET.network.inputs("fp32")


def test_a_detection_has_seven_values_with_the_top_first() -> None:
    outputs = _nothing(2)
    # sample 1: class 76 at the anchor of ratio 1 and scale 1 in row 2, column 3 of the map of 25 cells
    outputs["classification_head_25x25"][1, 3 * 264 + 76, 2, 3] = 3
    responses = ANSWER.respond(detected(outputs), Nothing(), np.array([4, 21594]))
    assert responses.offsets.tolist() == [0, 0, 28], "a sample without detections has an empty response"
    found = responses.data.view(np.float32)
    left, top, right, bottom = anchors(25)[(2 * 25 + 3) * 9 + 3]
    assert (left, top, right, bottom) == (32, 0, 160, 128)
    assert found[0] == 21594
    assert found[1:5].tolist() == pytest.approx([0, 0.04, 0.16, 0.2])
    assert found[5] == pytest.approx(1 / (1 + np.exp(-3)))
    assert found[6] == 76
    assert responses.data[:4].tobytes().hex() == "00b4a846"


def test_a_network_with_fewer_maps_and_classes_is_read_by_the_same_table() -> None:
    outputs = _nothing(1, (50, 13), 6)
    outputs["classification_head_13x13"][0, 8 * 6 + 5, 12, 0] = 2
    (entry,) = responses_of(outputs, np.array([3]))
    found = np.frombuffer(entry.data, np.float32)
    half_width, half_height, bottom = 144, 287, 800
    wanted = [(12 * 61 - half_height) / 800, 0, bottom / 800, half_width / 800]
    assert found[1:5].tolist() == pytest.approx(wanted)
    assert found[6] == 5


def test_detections_that_are_the_truth_score_100(made: tuple[Path, Edition], truth: dict[str, Any]) -> None:
    score = RETINANET.scorer.score(_exact(truth, range(SAMPLES)), *made)
    assert score.metrics == {"mAP": 100.0}
    assert score.lines[-1] == "mAP=100.000%"
    assert len(score.lines) == 13
    first = "Average Precision (AP) @[ IoU=0.50:0.95 | area= all | maxDets=100 ] = 1.000"
    assert " ".join(score.lines[0].split()) == first
    assert score.samples == SAMPLES


def _noisy(truth: dict[str, Any]) -> list[Entry]:
    rng = np.random.default_rng(0)
    entries = []
    for index in range(SAMPLES):
        rows = truth_rows(truth, index).repeat(2, axis=0)
        rows[:, 1:5] += rng.normal(0, 0.012, (len(rows), 4)).astype(np.float32)
        rows[:, 5] = rng.uniform(0.05, 1, len(rows)).astype(np.float32)
        entries.append(Entry(index, rows.tobytes() if index != 5 else b""))
    return entries


def test_the_score_is_that_of_pycocotools_on_the_same_boxes(
    made: tuple[Path, Edition], truth: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    entries = _noisy(truth)
    results = []
    for entry in entries:
        image = truth["images"][entry.qsl_idx]
        for row in np.frombuffer(entry.data, np.float32).reshape(-1, 7):
            top, left, bottom, right = (
                value * np.float32(side)
                for value, side in zip(row[1:5], [image["height"], image["width"]] * 2, strict=True)
            )
            box = [float(value) for value in (left, top, right - left, bottom - top)]
            results.append(
                {
                    "image_id": image["id"],
                    "category_id": int(row[6]),
                    "bbox": box,
                    "score": float(row[5]),
                }
            )
    ground = COCO(str(made[0] / "annotations" / "openimages-mlperf.json"))
    evaluation = COCOeval(ground, ground.loadRes(results), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    score = RETINANET.scorer.score(entries, *made)
    assert 20 < score.metrics["mAP"] < 95
    assert score.lines[-1] == f"mAP={100 * evaluation.stats[0]:.3f}%"


def test_the_first_entry_of_a_sample_counts_and_only_answered_images_do(
    made: tuple[Path, Edition], truth: dict[str, Any]
) -> None:
    right = _exact(truth, range(SAMPLES))
    score = RETINANET.scorer.score([right[3], Entry(3, b""), right[1]], *made)
    assert score.samples == 2
    assert score.metrics["mAP"] == 100
    assert RETINANET.scorer.score([Entry(3, b""), right[3], right[1]], *made).metrics["mAP"] < 100


def test_nothing_found_at_all_scores_zero(made: tuple[Path, Edition]) -> None:
    score = RETINANET.scorer.score([Entry(index, b"") for index in range(SAMPLES)], *made)
    assert score.metrics["mAP"] == 0
    assert score.lines == ("mAP=0.000%",)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda rows: rows[:, [0, 2, 1, 4, 3, 5, 6]], "x and y"),
        (lambda rows: rows * np.array([1, 1, 1, 1, 1, 1, 0], np.float32), "one class"),
        (lambda rows: np.concatenate([rows[:, :1], rows[:, 1:5] * 1.25, rows[:, 5:]], 1), "another side"),
    ],
    ids=["x before y", "one class", "divided by 640"],
)
def test_a_wrong_layout_of_the_response_shows_in_the_score(
    made: tuple[Path, Edition], truth: dict[str, Any], wrong: Callable[[_Floats], _Floats], said: str
) -> None:
    entries = [
        Entry(index, wrong(truth_rows(truth, index)).astype(np.float32).tobytes()) for index in range(SAMPLES)
    ]
    assert RETINANET.scorer.score(entries, *made).metrics["mAP"] < 30, said


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "no response"),
        ([Entry(10**6, b"")], "sample 1000000 is not in the data set"),
        ([Entry(-1, b"")], "sample -1 is not in the data set"),
        ([Entry(0, b"\0" * 30)], "has 30 bytes"),
        ([Entry(0, b"\0" * 40)], "has 40 bytes"),
        ([Entry(1, b"\0" * 28)], "sample 1 says it is of sample 0"),
        ([Entry(0, np.full(7, np.nan, np.float32).tobytes())], "no finite numbers"),
    ],
)
def test_a_log_that_cannot_be_scored_is_refused(
    made: tuple[Path, Edition], entries: list[Entry], said: str
) -> None:
    with pytest.raises(LogError, match=said):
        RETINANET.scorer.score(entries, *made)


def test_a_missing_and_a_damaged_image_are_named(made: tuple[Path, Edition], tmp_path: Path) -> None:
    dataset, edition = make_dataset(tmp_path / "copy", 3)
    output = tmp_path / "out"
    output.mkdir()
    asked = Preprocessing(dataset, output, edition, "validation", "int8", 2)
    figures = RETINANET.data.preprocess(asked)
    assert figures == {
        "count": 3,
        "shape": [3, 3, 800, 800],
        "dtype": "int8",
        "bytes": 3 * 3 * 800 * 800 + 128,
    }
    assert RETINANET.data.verify(dataset, edition, ignore_progress)["validation_images"] == 3
    victim = dataset / "validation" / "data" / f"{1:016x}.jpg"
    victim.write_bytes(victim.read_bytes()[:-200])
    with pytest.raises(SourceError, match="truncated"):
        RETINANET.data.preprocess(asked)
    with pytest.raises(SourceError, match=f"1 truncated .*{victim.name}"):
        RETINANET.data.verify(dataset, edition, ignore_progress)
    victim.unlink()
    with pytest.raises(SourceError, match="cannot be read") as caught:
        RETINANET.data.preprocess(asked)
    assert caught.value.where.endswith(victim.name)
    with pytest.raises(SourceError, match=f"1 missing: {victim.name}"):
        RETINANET.data.verify(dataset, edition, ignore_progress)


def test_calibration_samples_are_float32_and_a_persons_folder_is_used_where_it_lies(
    made: tuple[Path, Edition], tmp_path: Path
) -> None:
    dataset, _ = made
    full = RETINANET.facts.full
    place = tmp_path / "dataset"
    (place / "annotations").mkdir(parents=True)
    (place / "openimages").symlink_to(dataset)
    source = dataset / "annotations" / "openimages-mlperf.json"
    (place / "annotations" / "openimages-mlperf_annotations_2.1.json").write_bytes(source.read_bytes())
    (place / "openimages_cal_images_list.txt").write_text("aa.jpg")
    output = tmp_path / "out"
    output.mkdir()
    figures = RETINANET.data.preprocess(
        Preprocessing(
            place,
            output,
            edition=full,
            subset="calibration",
            precision="int8",
            workers=1,
        )
    )
    assert (figures["count"], figures["dtype"]) == (1, "float32")
    sample = ArraySamples(output, "images", (3, 800, 800)).rows(np.array([0]))["images"]
    assert sample.shape == (1, 3, 800, 800)
    assert 0 <= sample.min() < sample.max() <= 1
    with pytest.raises(SourceError, match="12 images, expected 24781"):
        RETINANET.data.verify(place, full, ignore_progress)
