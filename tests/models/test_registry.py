"""Benchmarks by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlperf_submission.errors import SettingError
from mlperf_submission.rounds import get_round
from mlperf_submission.steps.code import code_version
from models.registry import benchmark_names, get_benchmark
from tests.copies import copy_project


@pytest.mark.parametrize("name", benchmark_names())
def test_a_benchmark_has_the_name_and_the_metric_of_the_round(name: str) -> None:
    benchmark = get_benchmark(name)
    assert benchmark.name == name
    assert benchmark.scorer.metric in {target.metric for target in get_round("v4.1").model(name).accuracy}


def test_a_changed_score_measures_nothing_again(tmp_path: Path) -> None:
    copy_project(tmp_path, ("mlperf_submission", "models"), "*.onnx")
    benchmark = get_benchmark("resnet50")
    measured = (benchmark.module("data"), benchmark.module("answer"), "mlperf_submission.harness.child")
    before = code_version(*measured, project=tmp_path)
    for part, changes in (("score", False), ("network", False), ("answer", True)):
        other = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-{part}"))
        with (other / "models" / "resnet50" / f"{part}.py").open("a") as stream:
            stream.write("# changed\n")
        assert (code_version(*measured, project=other) != before) == changes, part


def test_a_new_folder_is_a_new_benchmark(tmp_path: Path) -> None:
    copy_project(tmp_path, ("mlperf_submission", "models"), "*.onnx")
    toy = shutil.copytree(tmp_path / "models" / "resnet50", tmp_path / "models" / "toy")
    facts = (toy / "facts.py").read_text()
    (toy / "facts.py").write_text(facts.replace('name="resnet50"', 'name="toy"'))
    script = (
        "from models.registry import benchmark_names, get_benchmark\n"
        "toy = get_benchmark('toy')\n"
        "print(*benchmark_names(), toy.module('answer'), toy.answer.response_dtype, toy.scorer.metric)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [
        *sorted([*benchmark_names(), "toy"], key=done.stdout.split().index),
        "models.toy.answer",
        "int32",
        "acc",
    ]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingError, match="unknown benchmark 'resnet'") as caught:
        get_benchmark("resnet")
    assert "did you mean resnet50?" in caught.value.remedy
    assert "known benchmarks: bert-99" in caught.value.remedy
