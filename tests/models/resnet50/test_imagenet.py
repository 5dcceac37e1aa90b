"""The official preprocessing, against its steps written out anew, and what it says about damaged images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mlperf_submission.benchmark.parts import Preprocessing, Progress, TensorSpec
from mlperf_submission.errors import DiskFullError, SourceError
from models.images import arrays
from models.images.folder import LabelledImage
from models.registry import get_benchmark
from models.resnet50 import imagenet
from models.resnet50.tensors import INT8_SCALE, inputs
from tests.models.conftest import MadeMini, Steps

EDITION = get_benchmark("resnet50").facts.full


def _picture(
    path: Path, width: int, height: int, mode: str = "RGB", quality: int = 90, **options: object
) -> Path:
    rng = np.random.default_rng(width * height)
    coarse = rng.integers(0, 256, (7, 9, len(Image.new(mode, (1, 1)).getbands())), dtype=np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(pixels, mode).save(path, "JPEG", quality=quality, **options)
    return path


def _run(
    folder: Path, names: list[str], output: Path, dtype: str = "float32", workers: int = 2
) -> NDArray[Any]:
    output.mkdir(exist_ok=True)
    asked = Preprocessing(folder, output, EDITION, "validation", "int8", workers)
    images = [LabelledImage(name, 0) for name in names]
    spec = TensorSpec("x", dtype, (None, 3, 224, 224))
    arrays.preprocess_images(asked, images, folder, imagenet.OFFICIAL_STEPS, [spec])
    return arrays.ArraySamples(output, "x", (3, 224, 224)).array


SIZES = [
    (500, 375),
    (375, 500),
    (256, 256),
    (224, 640),
    (641, 257),
    (97, 131),
    (1201, 300),
    (60, 47),
    (333, 334),
]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_equals_the_reference_steps(
    tmp_path: Path, steps: Callable[..., Steps], width: int, height: int
) -> None:
    path = _picture(tmp_path / "a.JPEG", width, height)
    assert np.array_equal(_run(tmp_path, ["a.JPEG"], tmp_path / "out")[0], steps()(path))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_greyscale_and_cmyk_have_three_channels(
    tmp_path: Path, steps: Callable[..., Steps], mode: str
) -> None:
    path = _picture(tmp_path / "a.JPEG", 300, 280, mode)
    assert np.array_equal(_run(tmp_path, ["a.JPEG"], tmp_path / "out")[0], steps()(path))


def test_follows_the_orientation_that_a_camera_wrote_as_the_reference_does(
    tmp_path: Path, steps: Callable[..., Steps]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = _picture(tmp_path / "a.JPEG", 400, 300, exif=exif.tobytes())
    upright = _picture(tmp_path / "b.JPEG", 400, 300)
    turned = _run(tmp_path, ["a.JPEG"], tmp_path / "out")[0]
    assert np.array_equal(turned, steps()(path))
    assert not np.array_equal(turned, steps()(upright))


def test_colours_and_means_by_hand(tmp_path: Path) -> None:
    Image.new("RGB", (320, 256), (200, 100, 50)).save(tmp_path / "a.JPEG", "JPEG", quality=100, subsampling=0)
    red, green, blue = _run(tmp_path, ["a.JPEG"], tmp_path / "out")[0]
    assert np.allclose(
        [red.mean(), green.mean(), blue.mean()], [200 - 123.68, 100 - 116.78, 50 - 103.94], atol=2
    )


def test_threads_give_what_one_thread_gives_in_the_order_of_the_list(
    mini: MadeMini, steps: Callable[..., Steps], tmp_path: Path
) -> None:
    names = [path.name for path in mini.jpegs[:40]][::-1]
    folder = mini.dataset / "validation"
    one = _run(folder, names, tmp_path / "one", workers=1)
    many = _run(folder, names, tmp_path / "many", workers=5)
    assert np.array_equal(one, many)
    assert np.array_equal(many[3], steps()(folder / names[3]))


def test_int8_is_the_rounded_clipped_float(mini: MadeMini, tmp_path: Path) -> None:
    names = [path.name for path in mini.jpegs[:12]]
    real = _run(mini.dataset / "validation", names, tmp_path / "real")
    whole = _run(mini.dataset / "validation", names, tmp_path / "whole", dtype="int8")
    assert whole.dtype == np.int8
    assert real.max() > 127.5, "the pictures must show the clipping"
    expected = np.clip(real, -128, 127)
    assert np.abs(whole * INT8_SCALE - expected).max() <= 0.5


def test_the_array_is_mapped_and_gathered_in_any_order(mini: MadeMini, tmp_path: Path) -> None:
    names = [path.name for path in mini.jpegs[:6]]
    array = _run(mini.dataset / "validation", names, tmp_path / "out")
    samples = arrays.ArraySamples(tmp_path / "out", "input", (3, 224, 224))
    assert isinstance(samples.array, np.memmap)
    assert not samples.array.flags.writeable
    batch = samples.rows(np.array([5, 0, 5], dtype=np.int64))
    assert list(batch) == ["input"]
    assert batch["input"].flags.c_contiguous
    assert np.array_equal(batch["input"], array[[5, 0, 5]])


def test_progress_reaches_the_end(mini: MadeMini, tmp_path: Path) -> None:
    seen: list[Progress] = []
    images = [LabelledImage(path.name, 0) for path in mini.jpegs[:130]]
    folder = mini.dataset / "validation"
    asked = Preprocessing(folder, tmp_path, EDITION, "validation", "int8", 2, seen.append)
    arrays.preprocess_images(asked, images, folder, imagenet.OFFICIAL_STEPS, inputs("int8"))
    assert seen[0] == Progress(0, 130)
    assert seen[-1] == Progress(130, 130)
    assert len(seen) > 2


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def _garble(path: Path) -> None:
    path.write_bytes(b"\xff\xd8" + b"no picture" * 50 + b"\xff\xd9")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "cannot be read"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"<html>no access</html>"), "no start marker"),
        (_cut, "is truncated"),
        (_garble, "cannot be decoded"),
    ],
)
def test_a_damaged_image_is_named_and_leaves_no_array(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    for name in ("a.JPEG", "b.JPEG", "c.JPEG"):
        _picture(tmp_path / name, 300, 300)
    damage(tmp_path / "b.JPEG")
    with pytest.raises(SourceError, match=said) as caught:
        _run(tmp_path, ["a.JPEG", "b.JPEG", "c.JPEG"], tmp_path / "out")
    assert caught.value.where == str(tmp_path / "b.JPEG")
    assert not list((tmp_path / "out").iterdir())


def test_bytes_after_the_end_marker_are_accepted(tmp_path: Path, steps: Callable[..., Steps]) -> None:
    path = _picture(tmp_path / "a.JPEG", 300, 300)
    expected = steps()(path)
    path.write_bytes(path.read_bytes() + b"\0" * 700)
    assert np.array_equal(_run(tmp_path, ["a.JPEG"], tmp_path / "out")[0], expected)


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    _picture(tmp_path / "a.JPEG", 300, 300)
    with pytest.raises(SourceError, match="leave its folder"):
        _run(tmp_path / "data", ["../a.JPEG"], tmp_path / "out")


def test_the_disk_is_looked_at_first(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"needs .* GB"):
        asked = Preprocessing(tmp_path, tmp_path, EDITION, "validation", "int8")
        arrays.preprocess_images(asked, _Many(), tmp_path, imagenet.OFFICIAL_STEPS, inputs("int8"))
    assert not list(tmp_path.iterdir())


class _Many(list[LabelledImage]):
    """A list of more images than any disk holds."""

    def __len__(self) -> int:
        return 10**12


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_a_broken_array_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / arrays.SAMPLES_FILE).write_bytes(content)
    with pytest.raises(SourceError, match="cannot be opened"):
        arrays.ArraySamples(tmp_path, "x", (3, 224, 224))


def test_an_array_of_something_else_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / arrays.SAMPLES_FILE, np.zeros((2, 3, 32, 32), np.float32))
    with pytest.raises(SourceError, match=r"\(2, 3, 32, 32\)"):
        arrays.ArraySamples(tmp_path, "x", (3, 224, 224))
