"""Published networks, read in the form that everything else works on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from mlperf_submission.benchmark.parts import Benchmark
from models.network.checks import check_network
from models.network.cleaning import clean
from models.network.folding import lay_aside, put_back


def read_source(path: Path, benchmark: Benchmark) -> tuple[ModelProto, dict[str, NDArray[np.generic]]]:
    """Return a published network in the benchmark's form, folded, checked and cleaned, and its weights.

    Raises:
        NetworkFileError: the file is no network of this benchmark.
    """
    network = benchmark.network
    specs = network.source_inputs("fp32"), network.source_outputs
    model, weights = lay_aside(check_network(path, *specs, adapt=network.adapt))
    return clean(model, *specs), weights


def whole_network(path: Path, benchmark: Benchmark) -> ModelProto:
    """Return a published network in FP32 up to the benchmark's answers.

    Raises:
        NetworkFileError: the file is no network of this benchmark.
    """
    model, weights = read_source(path, benchmark)
    put_back(model, weights)
    return benchmark.network.finish(model)
