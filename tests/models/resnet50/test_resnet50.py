"""resnet50 through the benchmark's interface: sources, inputs and outputs, responses, score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mlperf_submission.benchmark.facts import Edition, Source
from mlperf_submission.benchmark.parts import Preprocessing, ignore_progress
from mlperf_submission.errors import LogError, SourceError
from models.registry import get_benchmark
from models.resnet50.answer import ANSWER
from models.resnet50.imagenet import imagenet_name
from tests.models.conftest import MadeMini
from tests.models.samples import Nothing

RESNET = get_benchmark("resnet50")


@dataclass(frozen=True)
class Entry:
    qsl_idx: int
    data: bytes


def _answers(classes: Sequence[int]) -> list[Entry]:
    return [
        Entry(index, int(value).to_bytes(4, "little", signed=True)) for index, value in enumerate(classes)
    ]


def test_the_full_edition_names_the_official_sources() -> None:
    edition = RESNET.facts.full
    assert edition.sample_count == 50_000
    assert edition.network.digest == "md5:f6a4da60cd5f084d97efc2c1ddb10beb"
    assert len(edition.network.urls) >= 2
    assert edition.licensed is not None
    assert edition.licensed.key == "imagenet"
    assert [source.digest for source in edition.data] == ["md5:f963098ea0e785a968ca1eb634003a90"]


def test_int8_samples_feed_the_int8_network_only() -> None:
    assert RESNET.network.inputs("int8")[0].dtype == "int8"
    assert RESNET.network.inputs("fp16")[0].dtype == "float32"
    assert RESNET.network.inputs("int8")[0].scale == 1.0


def test_a_response_is_the_class_without_the_background_as_int32() -> None:
    responses = ANSWER.respond(
        {"ArgMax:0": np.array([1, 865, 1000], np.int64)}, Nothing(), np.array([7, 3, 9])
    )
    assert responses.data.tobytes().hex() == "00000000" + "60030000" + "e7030000"
    assert responses.offsets.tolist() == [0, 4, 8, 12]


def test_the_score_has_the_official_format(mini: MadeMini) -> None:
    labels = mini.labels
    wrong = [(label + 1) % 10 for label in labels]
    score = RESNET.scorer.score(_answers(wrong[:30] + labels[30:]), mini.dataset, mini.edition)
    good = len(labels) - 30
    assert score.lines == (f"accuracy={100 * good / len(labels):.3f}%, good={good}, total={len(labels)}",)
    assert score.metrics == {"acc": round(100 * good / len(labels), 3)}
    assert score.samples == len(labels)


def test_the_first_entry_of_a_sample_counts_and_the_divisor_is_what_was_seen(mini: MadeMini) -> None:
    right = _answers(mini.labels)
    wrong = _answers([(label + 1) % 10 for label in mini.labels])
    score = RESNET.scorer.score(
        [right[4], wrong[4], wrong[2], right[2], right[0]], mini.dataset, mini.edition
    )
    assert score.lines == ("accuracy=66.667%, good=2, total=3",)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "no response"),
        ([Entry(10**6, b"\0\0\0\0")], "sample 1000000 is not in the data set"),
        ([Entry(-1, b"\0\0\0\0")], "sample -1 is not in the data set"),
        ([Entry(0, b"\0\0")], "has 2 bytes, not 4"),
    ],
)
def test_a_log_that_cannot_be_scored_is_refused(mini: MadeMini, entries: list[Entry], said: str) -> None:
    with pytest.raises(LogError, match=said):
        RESNET.scorer.score(entries, mini.dataset, mini.edition)


@pytest.fixture
def licensed(tmp_path: Path, mini: MadeMini) -> tuple[Path, Edition]:
    """An edition with a person's own folder, as the full one, of six images, under official names."""
    images, dataset = tmp_path / "mine", tmp_path / "dataset"
    images.mkdir()
    (dataset / "labels").mkdir(parents=True)
    for number, path in enumerate(mini.jpegs[:6], 1):
        (images / imagenet_name(number)).write_bytes(path.read_bytes())
    lines = [f"{imagenet_name(number)} {label}\n" for number, label in enumerate(mini.labels[:6], 1)]
    (dataset / "labels" / "val.txt").write_text("".join(lines))
    (dataset / "imagenet").symlink_to(images)
    return dataset, replace(RESNET.facts.full, sample_count=6)


def test_a_persons_folder_is_used_where_it_lies_with_the_downloaded_labels(
    licensed: tuple[Path, Edition], mini: MadeMini, tmp_path: Path
) -> None:
    dataset, edition = licensed
    output = tmp_path / "out"
    output.mkdir()
    assert RESNET.data.verify(dataset, edition, ignore_progress)["images"] == 6
    figures = RESNET.data.preprocess(
        Preprocessing(
            dataset,
            output,
            edition=edition,
            subset="validation",
            precision="int8",
            workers=2,
        )
    )
    assert figures == {
        "count": 6,
        "shape": [6, 3, 224, 224],
        "dtype": "int8",
        "bytes": 6 * 3 * 224 * 224 + 128,
    }
    assert RESNET.scorer.score(_answers(mini.labels[:6]), dataset, edition).metrics["acc"] == 100


def test_the_official_calibration_images_are_asked_for(
    licensed: tuple[Path, Edition], tmp_path: Path
) -> None:
    dataset, edition = licensed
    with pytest.raises(SourceError, match="cannot be read") as caught:
        RESNET.data.preprocess(
            Preprocessing(
                dataset,
                tmp_path,
                edition=edition,
                subset="calibration",
                precision="int8",
                workers=1,
            )
        )
    assert caught.value.where.endswith("ILSVRC2012_val_00027145.JPEG")


def test_a_mini_folder_with_a_truncated_image_is_refused(mini: MadeMini, tmp_path: Path) -> None:
    folder = tmp_path / "validation"
    folder.mkdir()
    for path in (mini.dataset / "validation").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert RESNET.data.verify(tmp_path, mini.edition, ignore_progress)["images"] == len(mini.jpegs)
    victim = folder / mini.jpegs[5].name
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(SourceError, match=f"1 truncated .*{victim.name}"):
        RESNET.data.verify(tmp_path, mini.edition, ignore_progress)


def test_sources_of_the_mini_edition_point_at_the_server_that_has_it(mini: MadeMini) -> None:
    listing = replace(mini.listing, base_url="http://127.0.0.1:8123/")
    edition = RESNET.data.mini_edition(listing)
    sources: list[Source] = [edition.network, *edition.data]
    assert {source.urls for source in sources} == {
        ("http://127.0.0.1:8123/resnet50.onnx",),
        ("http://127.0.0.1:8123/val.tar",),
        ("http://127.0.0.1:8123/calibration.tar",),
    }
    assert all(source.digest == f"sha256:{listing.files[source.name][1]}" for source in sources)
