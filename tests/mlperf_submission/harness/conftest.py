from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mlperf_submission.harness.run import NullTiming, RunRequest
from mlperf_submission.harness.settings import RunLength, RunSettings, settings_for
from mlperf_submission.rounds import RunKind, Scenario, get_round
from models.resnet50.tensors import ARG_MAX, INPUT

SAMPLES = 48
POISON = 99
"""A first pixel that makes the little network fail."""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "host.lock"


@pytest.fixture
def make_settings() -> Callable[..., RunSettings]:
    def make(
        scenario: Scenario = Scenario.OFFLINE,
        *,
        kind: RunKind = RunKind.PERFORMANCE,
        target_qps: float = 2000.0,
        seconds: float | None = 0.3,
        round_name: str = "v4.1",
        samples: int | None = None,
        patient: bool = False,
        **more: Any,
    ) -> RunSettings:
        made = settings_for(
            get_round(round_name),
            "resnet50",
            kind,
            scenario,
            target_qps=target_qps,
            performance_sample_count=samples,
            length=RunLength(seconds=seconds),
            **more,
        )
        # A patient run is valid however busy the machine is that the tests run on.
        return made.model_copy(update={"target_latency_ns": 10**10}) if patient else made

    return make


@pytest.fixture
def null_request(lock: Path) -> Callable[..., RunRequest]:
    def make(settings: RunSettings, *, batch_size: int = 32, **more: Any) -> RunRequest:
        timing = NullTiming(
            **{name: more.pop(name) for name in tuple(more) if name in NullTiming.model_fields}
        )
        return RunRequest(
            settings=settings,
            benchmark=settings.benchmark,
            backend="null",
            batch_size=batch_size,
            lock=lock,
            null=timing,
            **more,
        )

    return make


@pytest.fixture
def little_network(tmp_path: Path) -> Path:
    """A network with resnet50's int8 input and output whose class is the sample's first pixel.

    A first pixel of POISON indexes past the end of its table, which ends the batch with an error.
    """
    table = np.arange(1, POISON + 1, dtype=np.int64)  # ArgMax counts the background, so class c is c + 1
    nodes = [
        helper.make_node("Slice", [INPUT, "starts", "ends", "axes"], ["corner"]),
        helper.make_node("Cast", ["corner"], ["pixel"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "pixel"], ["class"], axis=0),
        helper.make_node("Reshape", ["class", "flat"], [ARG_MAX]),
    ]
    constants = {
        "starts": np.zeros(3, np.int64),
        "ends": np.ones(3, np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "flat": np.array([-1], np.int64),
        "table": table,
    }
    graph = helper.make_graph(
        nodes,
        "little",
        [helper.make_tensor_value_info(INPUT, TensorProto.INT8, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info(ARG_MAX, TensorProto.INT64, ["N"])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = tmp_path / "little.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_samples(folder: Path, *, poisoned: int | None = None) -> Path:
    """Write SAMPLES int8 samples; the first pixel of sample i is `(7 * i) % 90`."""
    folder.mkdir()
    array = np.zeros((SAMPLES, 3, 224, 224), np.int8)
    array[:, 0, 0, 0] = (7 * np.arange(SAMPLES)) % 90
    if poisoned is not None:
        array[poisoned, 0, 0, 0] = POISON
    np.save(folder / "samples.npy", array)
    return folder


@pytest.fixture
def samples_folder(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "samples")


@pytest.fixture
def poisoned_folder(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "poisoned", poisoned=40)
