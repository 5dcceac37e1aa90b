"""The imaginary GPU refuses what CUDA forbids, and more: what it lets through is worth something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlperf_submission.harness.backends.tensorrt.cuda import GpuFacts
from mlperf_submission.harness.backends.tensorrt.device import GpuDevice
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo
from models.resnet50.architecture import resnet50
from tests.mlperf_submission.harness.fake_gpu import FakeCuda, devices_of

INFO = EngineInfo(
    library="tensorrt", version="1", compute_capability="8.9", precision="fp32", max_batch_size=4
)
ENGINE = resnet50(stages=((1, 8), (1, 16)), stem=8, classes=11, image=32).SerializeToString()


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda(GpuFacts("one", "8.9"), GpuFacts("other", "8.9"))


@pytest.fixture
def devices(cuda: FakeCuda) -> list[GpuDevice]:
    return devices_of(cuda, INFO)


def copy_of_pageable_memory(one: GpuDevice, other: GpuDevice) -> None:
    stream, target = one.make_stream(), one.allocate(8)
    one.copy(target, np.zeros(8, np.uint8).ctypes.data, 8, stream)


def copy_to_another_device(one: GpuDevice, other: GpuDevice) -> None:
    target, source = other.allocate(8), one.allocate_host(8)
    one.copy(target, source.ctypes.data, 8, one.make_stream())


def copy_on_a_stream_of_another_device(one: GpuDevice, other: GpuDevice) -> None:
    stream = other.make_stream()
    target, source = one.allocate(8), one.allocate_host(8)
    one.copy(target, source.ctypes.data, 8, stream)


def copy_past_the_end(one: GpuDevice, other: GpuDevice) -> None:
    stream, target, source = one.make_stream(), one.allocate(8), one.allocate_host(16)
    one.copy(target, source.ctypes.data, 16, stream)


def copy_from_memory_that_was_freed(one: GpuDevice, other: GpuDevice) -> None:
    stream, target, source = one.make_stream(), one.allocate(8), one.allocate_host(8)
    address = source.ctypes.data
    one.free_host(source)
    one.copy(target, address, 8, stream)


def free_twice(one: GpuDevice, other: GpuDevice) -> None:
    address = one.allocate(8)
    one.free(address)
    one.free(address)


def free_memory_of_another_device(one: GpuDevice, other: GpuDevice) -> None:
    one.free(other.allocate(8))


def free_while_work_is_under_way(one: GpuDevice, other: GpuDevice) -> None:
    stream, target, source = one.make_stream(), one.allocate(8), one.allocate_host(8)
    one.copy(target, source.ctypes.data, 8, stream)
    one.free(target)


def wait_where_another_device_was_chosen(one: GpuDevice, other: GpuDevice) -> None:
    stream = one.make_stream()
    other.use()
    one.wait(stream)


def allocate_in_a_capture(one: GpuDevice, other: GpuDevice) -> None:
    one.capture(one.make_stream(), lambda: one.free(one.allocate(8)))


def launch_where_another_device_was_chosen(one: GpuDevice, other: GpuDevice) -> None:
    stream = one.make_stream()
    graph = one.capture(stream, lambda: None)
    other.use()
    one.launch(graph, stream)


def run_an_engine_on_a_stream_of_another_device(one: GpuDevice, other: GpuDevice) -> None:
    tensors = one.load_engine(ENGINE, Path("engine"))
    addresses = {tensor.name: one.allocate(4 * tensor.bytes_of(tensor.shape)) for tensor in tensors}
    context = one.make_context(0, addresses, one.make_stream())
    one.set_shape(context, 1, {})
    stream = other.make_stream()
    one.use()
    one.enqueue(context, stream)


def give_an_engine_memory_of_another_device(one: GpuDevice, other: GpuDevice) -> None:
    tensors = one.load_engine(ENGINE, Path("engine"))
    addresses = {tensor.name: other.allocate(4 * tensor.bytes_of(tensor.shape)) for tensor in tensors}
    one.make_context(0, addresses, one.make_stream())


MISTAKES: list[Callable[[GpuDevice, GpuDevice], None]] = [
    copy_of_pageable_memory,
    copy_to_another_device,
    copy_on_a_stream_of_another_device,
    copy_past_the_end,
    copy_from_memory_that_was_freed,
    free_twice,
    free_memory_of_another_device,
    free_while_work_is_under_way,
    wait_where_another_device_was_chosen,
    allocate_in_a_capture,
    launch_where_another_device_was_chosen,
    run_an_engine_on_a_stream_of_another_device,
    give_an_engine_memory_of_another_device,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_found(
    devices: list[GpuDevice], mistake: Callable[[GpuDevice, GpuDevice], None]
) -> None:
    with pytest.raises((AssertionError, KeyError)):
        mistake(*devices)
