"""What leaves a flow: an error of ours, with what is known of it, whatever was raised inside."""

from __future__ import annotations

import errno
import os

import pytest

from flows.explain import explained
from mlperf_submission.errors import PipelineError, SettingError, StepFailedError, UnreachableError


def leaving(raised: Exception) -> PipelineError:
    """Return what leaves a flow in which this is raised."""

    @explained
    def body() -> None:
        raise raised

    with pytest.raises(PipelineError) as caught:
        body()
    assert caught.value.diagnosis
    return caught.value


def test_an_expected_error_leaves_as_it_is() -> None:
    raised = UnreachableError("the server does not answer", where="s3://mlperf")
    assert leaving(raised) is raised


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_of_another_user_is_named_with_the_user_who_needs_it(number: int) -> None:
    left = leaving(OSError(number, os.strerror(number), "/data/work"))
    assert isinstance(left, SettingError)
    assert left.where == "/data/work"
    assert os.strerror(number) in left.what
    assert f"writable for the user {os.geteuid()}" in left.remedy
    assert "The folder belongs to another user" in left.diagnosis


@pytest.mark.parametrize(
    "raised", [ZeroDivisionError("division by zero"), OSError(errno.EACCES, "Permission denied")]
)
def test_any_other_error_is_a_step_that_failed_and_keeps_its_origin(raised: Exception) -> None:
    left = leaving(raised)
    assert isinstance(left, StepFailedError)
    assert type(raised).__name__ in left.what
    assert left.__cause__ is raised
