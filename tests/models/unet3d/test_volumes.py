"""The preprocessing of 3d-unet against slow implementations, and what it says to files that are not right."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mlperf_submission.errors import SourceError
from models.unet3d.volumes import (
    INT8_SCALE,
    Scan,
    fitted,
    prepare_image,
    prepare_label,
    read_image,
    read_label,
    resampled,
    to_int8,
)

SPACING = st.floats(0.7, 2.9)


def _slow_lines(size: int, factor: float) -> NDArray[np.float64]:
    """Where the voxels of the result lie in the source: both ends on both ends."""
    count = int(np.round(size * factor))
    return np.arange(count, dtype=np.float64) * ((size - 1) / (count - 1))


def _interpolated(line: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.interp(places, np.arange(len(line)), line)


@settings(max_examples=20, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=6, max_side=11),
        elements=st.floats(-500, 500, width=16),
    ),
    st.tuples(SPACING, SPACING, SPACING),
)
def test_images_are_resampled_trilinearly(
    values: NDArray[np.float32], spacing: tuple[float, float, float]
) -> None:
    expected = values.astype(np.float64)
    for axis, (one, target) in enumerate(zip(spacing, (1.6, 1.2, 1.2), strict=True)):
        places = _slow_lines(values.shape[axis], one / target)
        expected = np.apply_along_axis(_interpolated, axis, expected, places)
    found = resampled(values, spacing, order=1)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.astype(np.float64), expected, atol=0.05)


def test_segmentations_take_the_nearest_voxel() -> None:
    values = np.random.default_rng(0).integers(0, 3, (11, 13, 9)).astype(np.uint8)
    spacing = (2.7, 0.9, 1.7)
    expected = values
    for axis, (one, target) in enumerate(zip(spacing, (1.6, 1.2, 1.2), strict=True)):
        rows = np.floor(_slow_lines(values.shape[axis], one / target) + 0.5).astype(int)
        expected = np.take(expected, rows, axis)
    np.testing.assert_array_equal(resampled(values, spacing, order=0), expected)


def test_a_volume_of_the_target_spacing_stays_as_it_is() -> None:
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    header = [float(np.float32(one)) for one in (1.6, 1.2, 1.2)]
    assert resampled(values, (header[0], header[1], header[2]), order=1) is values


def _slow_line(size: int) -> list[int | None]:
    """Which source voxel each voxel of an axis shows; None is padding."""
    line: list[int | None] = list(range(size))
    while len(line) < 128:
        line.append(line[-1])
        if len(line) < 128:
            line.insert(0, line[0])
    # what is odd goes to the end, so the first one above is appended
    over = len(line) % 64
    if over < 32:
        line = line[over // 2 : len(line) - (over - over // 2)]
    else:
        lacking = 64 - over
        line = [None] * (lacking // 2) + line + [None] * (lacking - lacking // 2)
    return line


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 420))
def test_axes_become_multiples_of_64(size: int) -> None:
    lines = fitted(
        np.arange(size, dtype=np.float32)[:, None, None] * np.ones((1, 128, 128), np.float32), -2.2
    )
    shown = _slow_line(size)
    assert lines.shape == (len(shown), 128, 128)
    assert len(shown) >= 128
    assert len(shown) % 64 == 0
    expected = [np.float32(-2.2) if one is None else np.float32(one) for one in shown]
    np.testing.assert_array_equal(lines[:, 0, 0], expected)


def test_grey_values_are_clipped_then_normalised() -> None:
    values = np.full((128, 128, 160), 101.0, np.float32)
    values[0, 0, :4] = [-1024, -79, 304, 3071]
    found = prepare_image(Scan(values, (1.6, 1.2, 1.2)))
    low, high = (-79 - 101) / 76.9, (304 - 101) / 76.9
    assert found.shape == (128, 128, 192)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0, 0, 16:20], [low, low, high, high], rtol=1e-6)
    np.testing.assert_array_equal(found[0, 0, :16], np.float32(-2.2))
    assert found[1, 1, 100] == 0


def test_int8_steps_reach_from_the_padding_to_the_largest_value() -> None:
    values = np.array([-2.340702, -2.2, 0.0, 0.03, 2.639792], np.float32)
    steps = to_int8(values)
    assert steps.tolist() == [-113, -106, 0, 1, 127]
    np.testing.assert_allclose(steps * INT8_SCALE, values, atol=INT8_SCALE / 2)


@pytest.fixture
def case(tmp_path: Path) -> Callable[..., Path]:
    def write(
        name: str,
        values: NDArray[np.generic],
        spacing: tuple[float, float, float] = (1.6, 1.2, 1.2),
        slope: float | None = None,
        inter: float | None = None,
    ) -> Path:
        image = cast(Any, nibabel.Nifti1Image)(values, np.diag([*spacing, 1.0]))
        if slope is not None:
            image.header.set_slope_inter(slope, inter)
        path = tmp_path / name
        nibabel.save(image, path)
        return path

    return write


def test_a_file_gives_values_and_spacing_in_its_own_order(case: Callable[..., Path]) -> None:
    values = np.random.default_rng(3).integers(-1000, 2000, (5, 6, 7)).astype(np.int16)
    image = read_image(case("imaging.nii.gz", values, (3.0, 0.8, 0.9)))
    np.testing.assert_array_equal(image.values, values.astype(np.float32))
    assert image.values.dtype == np.float32
    assert image.spacing == pytest.approx((3.0, 0.8, 0.9))


def test_a_files_own_scaling_is_applied(case: Callable[..., Path]) -> None:
    values = np.linspace(-1000, 2000, 6 * 7 * 8).reshape(6, 7, 8)
    path = case("imaging.nii.gz", values, slope=0.5, inter=-1024)
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    np.testing.assert_allclose(read_image(path).values.astype(np.float64), image.get_fdata(), rtol=1e-6)


def test_a_segmentation_takes_the_spacing_of_its_image(case: Callable[..., Path]) -> None:
    image = case("imaging.nii.gz", np.zeros((40, 50, 60), np.int16), (3.2, 2.4, 2.4))
    label = case("segmentation.nii.gz", np.ones((40, 50, 60), np.uint8), (1.0, 1.0, 1.0))
    found = read_label(label, image)
    assert found.spacing == pytest.approx((3.2, 2.4, 2.4))
    prepared = prepare_label(found)
    assert prepared.dtype == np.uint8
    assert prepared.shape == prepare_image(read_image(image)).shape == (128, 128, 128)


def _refused(path: Path, reads: Callable[[Path], Scan] = read_image) -> str:
    with pytest.raises(SourceError) as caught:
        reads(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy
    return caught.value.what


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "missing" in _refused(tmp_path / "imaging.nii.gz")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_refused(case: Callable[..., Path], share: float) -> None:
    path = case("imaging.nii.gz", np.random.default_rng(0).integers(0, 900, (30, 30, 30)).astype(np.int16))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cannot be read" in _refused(path)


def test_a_damaged_byte_is_noticed(case: Callable[..., Path]) -> None:
    path = case("imaging.nii.gz", np.random.default_rng(0).integers(0, 900, (30, 30, 30)).astype(np.int16))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "cannot be read" in _refused(path)


def test_what_is_no_nifti_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "imaging.nii.gz"
    path.write_bytes(gzip.compress(b"<!doctype html><html>log in first</html>" * 20))
    assert "cannot be read" in _refused(path)


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 8, 2), (1, 20, 20)])
def test_a_volume_has_three_axes(case: Callable[..., Path], shape: tuple[int, ...]) -> None:
    assert "not a volume of three axes" in _refused(case("imaging.nii.gz", np.zeros(shape, np.int16)))


def test_a_header_that_promises_too_much_costs_no_memory(case: Callable[..., Path]) -> None:
    path = case("imaging.nii.gz", np.zeros((4, 4, 4), np.int16))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:48] = np.array([30000, 30000, 30000], np.int16).tobytes()
    path.write_bytes(gzip.compress(bytes(content)))
    assert "30000×30000×30000" in _refused(path)
    content[42:48] = np.array([1000, 1000, 1000], np.int16).tobytes()  # 2 GB, and few enough to be a volume
    path.write_bytes(gzip.compress(bytes(content)))
    tracemalloc.start()
    assert "its voxels end" in _refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


def test_memory_is_taken_for_what_is_there_and_not_for_what_a_header_claims(
    case: Callable[..., Path],
) -> None:
    path = case("imaging.nii.gz", np.zeros((4, 4, 4), np.int16))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:48] = np.array([1000, 1000, 1000], np.int16).tobytes()  # 2 GB
    path.write_bytes(gzip.compress(bytes(content)))
    tracemalloc.start()
    try:
        assert "its voxels end after 128 bytes" in _refused(path)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), 400.0])
def test_an_impossible_spacing_is_refused(case: Callable[..., Path], spacing: float) -> None:
    path = case("imaging.nii.gz", np.zeros((4, 4, 4), np.int16))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[84:88] = np.array(spacing, np.float32).tobytes()  # pixdim[2]
    path.write_bytes(gzip.compress(bytes(content)))
    assert "which cannot be" in _refused(path)


def test_a_segmentation_of_another_shape_is_refused(case: Callable[..., Path]) -> None:
    image = case("imaging.nii.gz", np.zeros((8, 9, 10), np.int16))
    label = case("segmentation.nii.gz", np.zeros((8, 10, 9), np.uint8))
    assert "8×10×9 voxels, its image 8×9×10" in _refused(label, lambda path: read_label(path, image))


def test_an_unknown_label_is_refused(case: Callable[..., Path]) -> None:
    image = case("imaging.nii.gz", np.zeros((8, 9, 10), np.int16))
    label = case("segmentation.nii.gz", np.full((8, 9, 10), 3, np.uint8))
    assert "the labels 3" in _refused(label, lambda path: read_label(path, image))
