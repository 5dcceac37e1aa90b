"""A library's version is part of the keys of exactly the steps whose outcome it determines."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import get_args

import pytest

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Part
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.harness.settings import RunLength, settings_for
from mlperf_submission.rounds import RunKind, Scenario, get_round
from mlperf_submission.steps.cache import StepRecord, step_key
from models.registry import benchmark_names, get_benchmark
from tasks import versions
from tasks.accuracy import accuracy
from tasks.compliance import audit
from tasks.engine.spec import Step
from tasks.measurement import Bench
from tasks.mini import make_mini
from tasks.performance import performance
from tasks.preprocess import preprocess
from tasks.quantize import quantize
from tasks.versions import installed_version
from tests.conftest import ROOT

SCORED_UNAUDITED = {"quantize", "accuracy"}
SCORED = {*SCORED_UNAUDITED, "test01"}
MADE = {"make_mini", "preprocess"}
EXPECTED = {
    "opencv-python-headless": {"resnet50": MADE, "retinanet": MADE},
    "scikit-learn": {"resnet50": {"make_mini"}},
    "pycocotools": {"retinanet": SCORED},
    "tokenizers": {"bert-99": MADE | SCORED, "gptj-99": {"preprocess", *SCORED_UNAUDITED}},
    "nibabel": {"3d-unet-99": MADE | SCORED},
    "scipy": {"3d-unet-99": {"preprocess"} | SCORED},
    "rouge-score": {"gptj-99": SCORED_UNAUDITED},
    "nltk": {"gptj-99": SCORED_UNAUDITED},
}
"""The steps of each benchmark that a distribution's version counts in."""
FILES_ONLY = {"scikit-learn"}
"""Whose data is read where it lies, since importing it takes long."""
EVERYWHERE = {"numpy", "onnx", "onnxruntime", "pydantic"}


def steps(benchmark: str) -> dict[str, Step]:
    """Return the steps of a benchmark by name, with records and settings that do not matter."""
    record = StepRecord(
        step="any",
        label="any",
        key="0" * 64,
        inputs={},
        folder=Path("/nowhere"),
        files=[],
        figures={},
        created=datetime(2024, 7, 1, tzinfo=UTC),
        seconds=1.0,
    )
    rules = get_round("v4.1").model(benchmark)
    kinds = (RunKind.PERFORMANCE, RunKind.ACCURACY, *rules.audits)
    settings = {
        kind: settings_for(
            get_round("v4.1"),
            benchmark,
            kind,
            Scenario.OFFLINE,
            target_qps=100,
            performance_sample_count=None,
            length=RunLength.official(),
        )
        for kind in kinds
    }
    bench = Bench(
        benchmark=benchmark,
        scenario=Scenario.OFFLINE,
        request=RunRequest(
            settings=settings[RunKind.PERFORMANCE], benchmark=benchmark, backend="onnxruntime", batch_size=1
        ),
        engine_hash="",
        samples_hash="",
        settings=settings,
        limit_seconds=1,
    )
    precision: Precision = "fp16" if benchmark == "gptj-99" else "int8"
    edition = get_benchmark(benchmark).facts.full
    made = [
        make_mini(benchmark, 8, 1),
        preprocess(benchmark, benchmark, edition, "validation", precision, Path(), "", 1),
        quantize(benchmark, benchmark, precision, edition, record, Path(), record, record, 1),
        performance(benchmark, bench),
        accuracy(benchmark, bench, edition, Path(), "", rules),
        *(audit(benchmark, bench, kind, record, record, edition, Path()) for kind in rules.audits),
    ]
    return {step.spec.name: step for step in made}


def keys() -> dict[tuple[str, str], str]:
    return {
        (name, step): step_key(step, work.inputs())
        for name in benchmark_names()
        for step, work in steps(name).items()
    }


@pytest.mark.parametrize("distribution", EXPECTED)
def test_another_version_repeats_exactly_what_it_determines(
    distribution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys()
    monkeypatch.setattr(
        versions,
        "installed_version",
        lambda name: "another" if name == distribution else installed_version(name),
    )
    changed = {place for place, key in keys().items() if key != before[place]}
    assert changed == {(name, step) for name, names in EXPECTED[distribution].items() for step in names}


@pytest.mark.parametrize("benchmark", benchmark_names())
def test_whatever_a_benchmark_imports_is_declared(benchmark: str) -> None:
    parts = [get_benchmark(benchmark).module(part) for part in get_args(Part)]
    owners = packages_distributions()
    imported = {
        owners[name][0].replace("_", "-")
        for part in parts
        for name in third_party(part, set())
        if name in owners and owners[name][0] != "mlperf-submission"
    }
    libraries = get_benchmark(benchmark).facts.libraries
    declared = {*libraries.make_mini, *libraries.preprocess, *libraries.score}
    assert declared - FILES_ONLY <= imported
    assert imported - declared <= EVERYWHERE


def third_party(module: str, seen: set[str]) -> set[str]:
    """Return the top-level names that a module and ours that it imports import, wherever in the file."""
    seen.add(module)
    place = ROOT.joinpath(*module.split("."))
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())) if path.is_file() else ():
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.partition(".")[0] != "models":
                found.add(name.partition(".")[0])
            elif name not in seen and ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file():
                found |= third_party(name, seen)
    return found
