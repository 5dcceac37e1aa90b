"""What a person asks for is checked against the system file before anything runs."""

from __future__ import annotations

import pytest

from flows.request import SubmissionRequest
from mlperf_submission.errors import SettingError


def test_everything_that_the_file_names_is_the_default() -> None:
    request = SubmissionRequest.checked("rehearsal")
    both = ["resnet50", "retinanet", "bert-99", "gptj-99"]
    assert {(one.benchmark, one.scenario.value) for one in request.results} == {
        ("3d-unet-99", "Offline"),
        *((name, scenario) for name in both for scenario in ("Offline", "Server")),
    }
    assert not request.full_length
    assert request.sample_count("resnet50") == 500
    assert request.largest_batch("resnet50") == 16


def test_full_length_takes_the_samples_of_the_round() -> None:
    request = SubmissionRequest.checked("rehearsal", scenarios=["Server"], full_length=True)
    assert request.scenarios == ["Server"]
    assert request.sample_count("resnet50") == 50_000


@pytest.mark.parametrize(
    ("models", "scenarios", "message"),
    [
        (["resnet51"], None, r"unknown benchmark 'resnet51' \[system rehearsal\]\n.*it names: resnet50"),
        (None, ["Online"], r"unknown scenario 'Online' \[system rehearsal\]\n.*it names: Offline, Server"),
    ],
)
def test_what_the_file_does_not_name_is_refused(
    models: list[str] | None, scenarios: list[str] | None, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        SubmissionRequest.checked("rehearsal", models, scenarios)
