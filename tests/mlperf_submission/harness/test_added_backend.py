"""A backend is its file in harness/backends/ alone: one is added to a copy, and LoadGen runs on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlperf_submission.harness.run import RunOutcome, RunRequest
from mlperf_submission.harness.settings import RunSettings
from mlperf_submission.rounds import RunKind
from mlperf_submission.submission.accuracy_log import read_accuracy
from models.images.arrays import SAMPLES_FILE
from tests.copies import copy_project

SAMPLES = 48
TOY = '''
"""Answers with three times the sample's index."""

import numpy as np

from mlperf_submission.benchmark.answer import Responses


class Toy:
    name, device_names, details, streams = "toy 1.0", ("toy device",), {"of": "wood"}, 2

    def __init__(self, options):
        options.require("toy")

    def load(self, indices):
        self.loaded = set(indices.tolist())

    def unload(self):
        self.loaded = set()

    def run(self, stream, indices):
        assert self.loaded.issuperset(indices.tolist())
        return Responses.from_rows((3 * indices).astype(np.int32))

    def close(self):
        pass


open_backend = Toy
'''
MEASURE = """
import sys
from pathlib import Path
from mlperf_submission.harness.run import RunRequest, measure

request = RunRequest.model_validate_json(Path("request.json").read_text())
Path("outcome.json").write_text(measure(request, Path("run"), timeout_seconds=900).model_dump_json())
"""


def test_a_backend_is_one_file(tmp_path: Path, lock: Path, make_settings: Callable[..., RunSettings]) -> None:
    house = copy_project(tmp_path / "house", ("mlperf_submission", "models"))
    (house / "mlperf_submission" / "harness" / "backends" / "toy.py").write_text(TOY)
    np.save(house / SAMPLES_FILE, np.zeros((SAMPLES, 3, 224, 224), np.int8))
    (house / "engine").write_bytes(b"")
    request = RunRequest(
        settings=make_settings(kind=RunKind.ACCURACY, samples=SAMPLES),
        benchmark="resnet50",
        precision="int8",
        backend="toy",
        engine=house / "engine",
        samples=house,
        batch_size=8,
        lock=lock,
    )
    (house / "request.json").write_text(request.model_dump_json())
    subprocess.run([sys.executable, "-c", MEASURE], cwd=house, check=True, timeout=900)
    outcome = RunOutcome.model_validate_json((house / "outcome.json").read_bytes())
    assert (outcome.child.backend, outcome.device_names) == ("toy 1.0", ("toy device",))
    answers = {
        entry.qsl_idx: int(np.frombuffer(entry.data, np.int32)[0])
        for entry in read_accuracy(house / "run" / "mlperf_log_accuracy.json")
    }
    assert answers == {index: 3 * index for index in range(SAMPLES)}
