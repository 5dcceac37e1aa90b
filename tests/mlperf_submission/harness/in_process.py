"""A run of LoadGen in the test's own process, over a system that the test made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlperf_loadgen as loadgen

from mlperf_submission.harness import loadgen_settings
from mlperf_submission.harness.settings import RunSettings
from mlperf_submission.harness.sut import Streams

LoadCallback = Callable[[list[int]], None]


def ignore(_: list[int]) -> None:
    """Neither load nor unload anything."""


def run_in_process(
    system: Streams,
    errors: list[BaseException],
    settings: RunSettings,
    folder: Path,
    *,
    samples: int,
    resident: int,
    load: LoadCallback = ignore,
    unload: LoadCallback = ignore,
) -> None:
    """Let LoadGen put its queries to a system, from its start to its end; `errors` must stay empty."""
    system.start()
    under_test = loadgen.ConstructFastSUT(system.source.put, system.source.flush)
    library = loadgen.ConstructQSL(samples, resident, load, unload)
    loadgen.StartTestWithLogSettings(
        under_test,
        library,
        loadgen_settings.test_settings(settings),
        loadgen_settings.log_settings(folder),
        "audit.config",
    )
    loadgen.DestroyQSL(library)
    loadgen.DestroyFastSUT(under_test)
    system.stop()
    assert errors == []
