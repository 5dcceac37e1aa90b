"""What may be left out of a submission, and what is said of results that failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from flows.incomplete import incomplete, lacking, notes_on_missing, raise_if_nothing_is_left
from flows.request import SubmissionRequest
from flows.submission import SubmissionOutcome
from mlperf_submission.errors import InvalidRunError, SettingError
from mlperf_submission.rounds import Scenario
from tasks.package import Measured

MODEL_SYSTEM = "SR650_V3_3xL40S_TRT"


def measured(*names: str) -> list[Measured]:
    parts = [name.split("/") for name in names]
    return [
        cast(Measured, SimpleNamespace(benchmark=benchmark, scenario=Scenario(scenario)))
        for benchmark, scenario in parts
    ]


def test_what_is_left_out_is_not_asked_for() -> None:
    request = SubmissionRequest.checked(MODEL_SYSTEM, without=["retinanet", "gptj-99"])
    assert [benchmark.name for benchmark in request.benchmarks] == ["resnet50", "bert-99", "3d-unet-99"]


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (
            "retinanet/Server",
            r"round v4\.1 asks for Server of retinanet: it cannot be handed in with Offline alone"
            r"[\s\S]*--without retinanet",
        ),
        ("retinanet/Servre", "there is no result 'retinanet/Servre' to leave out"),
    ],
)
def test_what_the_round_asks_for_cannot_be_left_out(without: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        SubmissionRequest.checked(MODEL_SYSTEM, without=[without])


def test_a_rehearsal_may_be_a_part() -> None:
    request = SubmissionRequest.checked("rehearsal", ["resnet50"], ["Offline"])
    assert lacking(request, measured("resnet50/Offline")) == ["resnet50/Server"]
    assert notes_on_missing(request, measured("resnet50/Offline"), {}) == [
        "a submission needs Server of resnet50 too (rule M-05)"
    ]


def test_the_error_names_what_failed_and_how_the_others_can_be_handed_in() -> None:
    request = SubmissionRequest.checked(MODEL_SYSTEM, ["retinanet", "3d-unet-99", "resnet50"])
    there = ["resnet50/Offline", "resnet50/Server", "retinanet/Offline"]
    lacks = lacking(request, measured(*there))
    assert lacks == ["retinanet/Server", "3d-unet-99/Offline"]
    outcome = cast(
        SubmissionOutcome, SimpleNamespace(results=measured(*there), lacks=lacks, s3_address="s3://b/c")
    )
    failures = {
        "retinanet/Server": InvalidRunError("the run is INVALID"),
        "3d-unet-99": InvalidRunError("no network"),
    }
    error = incomplete(request, outcome, failures)
    reasons = "retinanet/Server: the run is INVALID; 3d-unet-99: no network"
    assert error.what == f"2 of 5 results are missing: {reasons}"
    assert error.outcome is outcome
    assert f"mlperf-submission run {MODEL_SYSTEM} --without retinanet,3d-unet-99" in error.remedy
    assert "v4.1 asks for Server of retinanet, so it goes as a whole" in error.remedy


def test_without_any_result_the_failure_itself_is_raised() -> None:
    failure = InvalidRunError("it is INVALID")
    with pytest.raises(InvalidRunError) as caught:
        raise_if_nothing_is_left([], {"resnet50/Server": failure})
    assert caught.value is failure
