"""Benchmarks by name."""

from __future__ import annotations

import pytest

from common.errors import SettingError
from mlperf.rounds import get_round
from models.registry import benchmark_names, get_benchmark


@pytest.mark.parametrize("name", benchmark_names())
def test_a_benchmark_has_the_name_and_the_metric_of_the_round(name: str) -> None:
    benchmark = get_benchmark(name)
    assert benchmark.name == name
    assert benchmark.metric in {target.metric for target in get_round("v4.1").model(name).accuracy}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingError, match="unknown benchmark 'resnet'") as caught:
        get_benchmark("resnet")
    assert "did you mean resnet50?" in caught.value.remedy
    assert "known benchmarks: resnet50" in caught.value.remedy
