"""Windows, weights and sums of 3d-unet against a slow implementation that goes the reference's way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays
from models.unet3d.windows import origins, patch, window_count
from tests.models.unet3d.networks import Place
from tests.models.unet3d.plain import WindowBatches, segment

SIDE = st.integers(2, 6).map(lambda count: 64 * count)


def _slow_patch() -> NDArray[np.float64]:
    line = [np.exp(-0.5 * ((place - 127 / 2) / (0.125 * 128)) ** 2) for place in range(128)]
    plane = np.outer(line, line)
    block = np.cbrt(np.outer(plane, line).reshape(128, 128, 128))
    weights: NDArray[np.float64] = block / block.max()
    return weights


def test_the_weights_are_the_references() -> None:
    weights = patch()
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, _slow_patch(), rtol=1e-6)
    assert weights.max() == 1
    assert weights.min() == weights[0, 0, 0]
    assert f"{weights.min():.3e}" == "3.801e-04"
    assert round(float(weights.sum(dtype=np.float64)), 2) == 314764.46


@given(st.tuples(SIDE, SIDE, SIDE))
def test_windows_begin_every_64_voxels_the_last_axis_fastest(shape: tuple[int, int, int]) -> None:
    expected = []
    for z in range(0, 64 * ((shape[0] - 128) // 64 + 1), 64):
        for y in range(0, 64 * ((shape[1] - 128) // 64 + 1), 64):
            for x in range(0, 64 * ((shape[2] - 128) // 64 + 1), 64):
                expected.append((z, y, x))
    assert origins(shape) == expected
    assert window_count(shape) == len(expected)


def _slow_labels(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    result = np.zeros((1, 3, *volume.shape), np.float32)
    norm = np.zeros_like(result)
    weights = _slow_patch().astype(np.float32)
    network = Place(1)
    for z, y, x in origins(volume.shape):
        part = (..., slice(z, z + 128), slice(y, y + 128), slice(x, x + 128))
        scores = network.infer({"input": volume[part][None, None]})["output"].astype(np.float32)
        result[part] += scores * weights
        norm[part] += weights
    result /= norm
    labels: NDArray[np.uint8] = np.argmax(result, axis=1).astype(np.uint8)[0]
    return labels


@pytest.mark.parametrize(
    ("shape", "batch_size", "batches"),
    [
        ((128, 128, 128), 4, [1]),
        ((192, 192, 128), 3, [3, 1]),
        ((256, 128, 128), 1, [1] * 3),
        ((128, 128, 256), 8, [3]),
    ],
)
def test_a_volume_is_segmented_as_the_reference_does_it(
    shape: tuple[int, int, int], batch_size: int, batches: list[int]
) -> None:
    volume = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    network = Place(batch_size)
    labels = segment(network, volume)
    assert labels.dtype == np.uint8
    assert labels.shape == shape
    assert network.batches == batches
    expected = _slow_labels(volume)
    assert np.mean(labels != expected) < 1e-6, "but for ties that the division makes"
    assert set(np.unique(expected)) == {0, 1, 2}


def test_volumes_share_the_batches_of_their_windows_and_keep_their_own_labels() -> None:
    random = np.random.default_rng(3)
    shapes = [(192, 128, 128), (128, 128, 128), (192, 192, 128), (128, 192, 128)]
    volumes = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    network = Place(3)
    shared = WindowBatches(network)
    found: dict[int, NDArray[np.uint8]] = {}
    todo = list(range(len(volumes)))
    while todo or shared.left:
        while todo and shared.left < network.batch_size:
            number = todo.pop(0)
            shared.enter(number, volumes[number])
        found.update(shared.step())
    assert network.batches == [3, 3, 3], "9 windows; by themselves the volumes would need 5 batches"
    for number, volume in enumerate(volumes):
        np.testing.assert_array_equal(found[number], segment(Place(3), volume))


def test_equal_scores_go_to_the_first_class() -> None:
    class Undecided(Place):
        def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
            return {"output": np.zeros((1, 3, 128, 128, 128), np.float32)}

    assert not segment(Undecided(1), np.zeros((128, 128, 128), np.float32)).any()


def test_int8_volumes_reach_the_network_as_int8() -> None:
    class Takes(Place):
        def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
            assert inputs["input"].dtype == np.int8
            return super().infer(inputs, first_row)

    volume = np.random.default_rng(2).integers(-128, 128, (128, 128, 128)).astype(np.int8)
    assert segment(Takes(1), volume).shape == volume.shape
