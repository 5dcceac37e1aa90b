"""System files: what is wrong in them is named, with its place and what is known there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mlperf_submission.config.system import Interference, System, _model_in, known_systems, load_system
from mlperf_submission.errors import SettingError
from mlperf_submission.submission.description import REQUIRED

Change = Callable[[dict[str, object]], object]
EDGE = {"precision": "int8", "Offline": {}, "SingleStream": {}}
WHOLE = {field: "1" for field in REQUIRED if field not in ("division", "submitter", "system_type", "status")}


def test_every_system_in_the_project_is_sound() -> None:
    names = known_systems()
    assert "rehearsal" in names
    for name in names:
        assert load_system(name).benchmarks


def test_a_system_is_found_by_name_or_path(rehearsal_file: Path) -> None:
    assert load_system(str(rehearsal_file)).description == load_system("rehearsal").description


def test_an_unknown_system_names_the_nearest_and_the_known() -> None:
    with pytest.raises(SettingError) as caught:
        load_system("rehersal")
    assert "did you mean rehearsal?" in str(caught.value)
    with pytest.raises(SettingError, match="there is no such system file"):
        load_system("nowhere/x.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(colour="red"), "colour: unknown key; known here: accelerator, backend"),
        (
            lambda s: s["benchmarks"]["resnet50"]["Offline"].update(batchsize=3),
            "benchmarks.resnet50.Offline.batchsize: unknown key; known here: audit_qps_factor, batch_size",
        ),
        (
            lambda s: s["benchmarks"]["resnet50"]["Server"].update(target_qps="fast"),
            "benchmarks.resnet50.Server.target_qps: Input should be a valid number",
        ),
        (
            lambda s: s["benchmarks"].update(resnet51={"precision": "fp16", "Offline": {}}),
            "no model 'resnet51'",
        ),
        (
            lambda s: s["benchmarks"]["resnet50"].update(precision="int4"),
            "'fp32', 'fp16' or 'int8', not 'int4'",
        ),
        (lambda s: s.update(edition="full"), "benchmarks.resnet50.Server needs its target_qps"),
        (lambda s: s.update(round="v9.9"), "round: Value error, unknown round; known rounds: v4.0, v4.1"),
        (lambda s: s.update(name="../x"), "name: Value error, only letters"),
        (lambda s: s.update(name="result"), "must have the word rehearsal in its name"),
        (lambda s: s["description"].update(coling="air"), "unknown field 'coling'; near it: cooling"),
        (lambda s: s.pop("submitter"), "submitter: missing"),
        (lambda s: s["accelerator"].update(compute_capability="sm_89"), "accelerator.compute_capability"),
        (
            lambda s: s["accelerator"].update(compute_capability=8.9),
            'accelerator.compute_capability: 8.9 is no text; quote it: compute_capability: "8.9"',
        ),
        (lambda s: s.update(round=4.1), "round: Value error, unknown round; write v4.1; known rounds"),
        (lambda s: s.update(round="5.0"), "write v5.0"),
        (lambda s: s.update(round=None), "unknown round; known rounds"),
        (
            lambda s: s["description"].update(accelerator_interconnect=False),
            'accelerator_interconnect: false is no text; quote it: accelerator_interconnect: "false"',
        ),
        (lambda s: s["description"].update(host_memory_capacity=1.5), 'host_memory_capacity: "1.5"'),
        (
            lambda s: s["accelerator"].update(count=True),
            "accelerator.count: Input should be a valid integer, not True",
        ),
        (lambda s: s["accelerator"].update(count="3"), "not '3'; write it without quotes"),
        (
            lambda s: s["benchmarks"]["resnet50"].update(Offline=None),
            "Offline: Value error, nothing stands below it",
        ),
        (
            lambda s: s.setdefault("store", {}).update(retain_days=4_000_000),
            "store.retain_days: Input should be less",
        ),
        (lambda s: s.setdefault("limits", {}).update(upload=1e12), "limits.upload: Input should be less"),
        (lambda s: s["benchmarks"].update(x="y" * 100_000), "benchmarks.x: Input should be"),
        (
            lambda s: s["benchmarks"]["resnet50"].update(SingleStream={"target_qps": 3.0}),
            "SingleStream has no target_qps; write its expected_latency_ms",
        ),
        (
            lambda s: s["benchmarks"]["resnet50"]["Offline"].update(expected_latency_ms=3.0),
            "Offline has no expected_latency_ms; write its target_qps",
        ),
    ],
)
def test_what_is_wrong_is_named(rehearsal_file: Path, change: Change, message: str) -> None:
    content = yaml.safe_load(rehearsal_file.read_text())
    change(content)
    rehearsal_file.write_text(yaml.safe_dump(content))
    with pytest.raises(SettingError) as caught:
        load_system(str(rehearsal_file))
    assert message in caught.value.what
    assert caught.value.where == str(rehearsal_file)
    assert len(caught.value.what) < 1000


def numbers(model: type[BaseModel], place: str = "System") -> Iterator[tuple[str, Any, FieldInfo]]:
    """Yield every setting that may be a float, with the model that it stands in."""
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner:
            yield from numbers(inner, f"{place}.{name}")
        elif float in (field.annotation, *get_args(field.annotation)):
            yield f"{place}.{name}", model, field


@pytest.mark.parametrize(
    ("place", "model", "field"), list(numbers(System)), ids=lambda one: one if isinstance(one, str) else ""
)
def test_every_number_is_finite_and_no_truth_value(
    place: str, model: type[BaseModel], field: FieldInfo
) -> None:
    name = place.rpartition(".")[2]
    for value in (math.inf, math.nan, -math.inf, True, "1"):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({field.alias or name: value})
        assert (name,) in [one["loc"] for one in caught.value.errors()]


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "", "\x00", "a: !!python/object:os.system {}"])
def test_what_is_no_settings_is_refused(rehearsal_file: Path, text: str) -> None:
    rehearsal_file.write_text(text)
    with pytest.raises(SettingError, match=r"not YAML|holds no settings"):
        load_system(str(rehearsal_file))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.update(round="v6.1"),
            "no Offline for resnet50 in the category datacenter; it accepts: in edge MultiStream, Offline",
        ),
        (
            lambda s: s["description"].update(system_type="edge"),
            "has no Server for resnet50 in the category edge; it accepts: MultiStream, Offline, SingleStream",
        ),
        (
            lambda s: s.update(category="edge"),
            "no Server for resnet50",
        ),
        (
            lambda s: (s.update(edition="full"), s["benchmarks"]["resnet50"].pop("Server")),
            "cooling is missing or empty",
        ),
        (
            lambda s: (
                s.update(edition="full", category="edge", benchmarks={"resnet50": EDGE}),
                s["description"].update(WHOLE),
            ),
            "benchmarks.resnet50 lacks MultiStream, which round v4.1 asks for in the category edge",
        ),
        (
            lambda s: (
                s.update(edition="full", category="datacenter,edge", benchmarks={"bert-99": EDGE}),
                s["description"].update(WHOLE),
            ),
            "benchmarks.bert-99 lacks Server, which round v4.1 asks for in the category datacenter,edge",
        ),
        (lambda s: s["description"].update(status="soon"), "status is 'soon', not one of available"),
        (
            lambda s: s["description"].update(submitter="Other"),
            "submitter is 'Other', the tree's is 'Rehearsal'",
        ),
    ],
)
def test_what_packaging_would_refuse_after_the_measurements_is_refused_before(
    rehearsal_file: Path, change: Change, message: str
) -> None:
    content = yaml.safe_load(rehearsal_file.read_text())
    change(content)
    rehearsal_file.write_text(yaml.safe_dump(content))
    with pytest.raises(SettingError) as caught:
        load_system(str(rehearsal_file))
    assert message in caught.value.what


def test_a_disturbed_run_is_repeated_unless_it_is_a_rehearsal_or_the_file_says_otherwise() -> None:
    rehearsal = load_system("rehearsal")
    assert not rehearsal.repeats_disturbed_runs
    assert rehearsal.model_copy(update={"edition": "full"}).repeats_disturbed_runs
    repeated = rehearsal.model_copy(update={"interference": Interference(when_disturbed="repeat")})
    assert repeated.repeats_disturbed_runs
