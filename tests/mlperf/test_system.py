"""System files: what is wrong in them is named, with its place and what is known there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from common.errors import SettingError
from mlperf.system import Interference, known_systems, load_system

Change = Callable[[dict[str, object]], object]


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


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "", "\x00", "a: !!python/object:os.system {}"])
def test_what_is_no_settings_is_refused(rehearsal_file: Path, text: str) -> None:
    rehearsal_file.write_text(text)
    with pytest.raises(SettingError, match=r"not YAML|holds no settings"):
        load_system(str(rehearsal_file))


def test_a_disturbed_run_is_repeated_unless_it_is_a_rehearsal_or_the_file_says_otherwise() -> None:
    rehearsal = load_system("rehearsal")
    assert not rehearsal.repeats_disturbed_runs
    assert rehearsal.model_copy(update={"edition": "full"}).repeats_disturbed_runs
    repeated = rehearsal.model_copy(update={"interference": Interference(when_disturbed="repeat")})
    assert repeated.repeats_disturbed_runs
