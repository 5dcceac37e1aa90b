"""What the facts say of device memory is what the networks keep there."""

from __future__ import annotations

from models.gptj.decoder import GPTJ_6B
from models.registry import get_benchmark
from models.unet3d.tensors import FULL_BLOCKS, PARTS, VOXELS
from models.unet3d.volumes import CLASSES


def test_the_state_of_a_row_is_that_of_the_network() -> None:
    assert get_benchmark("gptj-99").facts.sizes.state == GPTJ_6B.state_bytes
    unet3d = get_benchmark("3d-unet-99").facts.sizes
    assert unet3d.state == PARTS * FULL_BLOCKS * CLASSES * VOXELS * 4
