"""Fixtures of the store's tests that are needed here too."""

from tests.mlperf_submission.store.conftest import scripted_server

__all__ = ["scripted_server"]
