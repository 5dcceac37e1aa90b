"""The network's own sums and labels against those on the host, which go the reference's way."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays
from models.network.agreement import drained
from models.unet3d.answer import ANSWER, VolumePlan
from models.unet3d.samples import VolumeSamples
from tests.models.unet3d.networks import Place
from tests.models.unet3d.plain import segment

SHAPES = [(128, 128, 128), (192, 192, 128), (256, 128, 192), (128, 192, 128), (320, 128, 128)]


def volumes(shapes: list[tuple[int, int, int]]) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(3)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_volumes_that_share_batches_and_follow_one_another_get_the_labels_of_the_reference(rows: int) -> None:
    given = volumes(SHAPES)
    found = drained(ANSWER.open(Place(rows).whole(), VolumeSamples(given)), np.array([1, 0, 2, 3, 4]))
    for index, labels in zip([1, 0, 2, 3, 4], found, strict=True):
        expected = segment(Place(1), given[index])
        assert labels == expected.tobytes()
        assert set(np.unique(expected)) == {0, 1, 2}


def test_the_host_gets_labels_only_and_the_case_when_it_is_done() -> None:
    session = Place(2).whole()
    sizes: list[int] = []

    class Counting:
        batch_size = 2

        def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
            outputs = session.infer(inputs, first_row)
            sizes.append(sum(values.nbytes for values in outputs.values()))
            return outputs

    loop = ANSWER.open(Counting(), VolumeSamples(volumes([(192, 192, 128)])))
    loop.admit([7], np.array([0]))
    ended: list[int] = []
    while not loop.is_idle:
        ended += loop.step().finished
    assert ended == [7]
    assert sizes == [8 * 64**3] * 4, "a byte for each voxel of a window; its scores have twelve"


def test_a_window_has_one_pair_of_blocks_in_each_tensor_and_none_is_new_twice() -> None:
    for shape in SHAPES:
        plan = VolumePlan(np.zeros(shape, np.int8))
        count = int(np.prod([size // 64 for size in shape]))
        for chosen in (plan.fresh, plan.last):
            assert chosen.sum() == count, "every block once"
            for part in range(4):
                windows, places = np.nonzero(chosen[:, part])
                blocks = plan.write[windows, part] + places
                assert sorted(blocks.tolist()) == list(range(len(blocks)))
        assert (np.sort(plan.quarters, axis=1) == np.arange(4)).all()
