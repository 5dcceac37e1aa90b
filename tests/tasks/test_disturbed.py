"""A disturbed run is measured again while a retry is left, then kept with a note."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, clean_environment

MEASURE = """
import json, subprocess, sys
from dataclasses import replace
from pathlib import Path
from cli.server import prefect_server

home = Path(sys.argv[1])
with prefect_server(home / "prefect", home / "prefect.log"):
    from prefect import flow
    from mlperf_submission.harness.record import RunRequest
    from mlperf_submission.harness.settings import RunLength, settings_for
    from mlperf_submission.harness.limits import DisturbanceLimits
    from mlperf_submission.process import end_with_parent
    from mlperf_submission.rounds import RunKind, Scenario, get_round
    from tasks.engine.runner import Live
    from tasks.measurement import Bench, disturbances_of
    from tasks.performance import performance
    from tasks.workspace import Workspace

    settings = settings_for(
        get_round("v4.1"), "resnet50", RunKind.PERFORMANCE, Scenario.OFFLINE, target_qps=2000,
        performance_sample_count=None, length=RunLength(seconds=0.3),
    )
    bench = Bench(
        benchmark="resnet50",
        scenario=Scenario.OFFLINE,
        request=RunRequest(
            settings=settings, benchmark="resnet50", backend="null", batch_size=32, lock=home / "host.lock",
            null={"batch_seconds": 0.02},
            disturbance_limits=DisturbanceLimits(other_cpu_share=float(sys.argv[2])),
        ),
        engine_hash="none", samples_hash="none", settings={RunKind.PERFORMANCE: settings}, limit_seconds=900,
        repeat_disturbed=True,
    )

    @flow
    def measured():
        step = performance("resnet50 Offline", bench)
        return Live(Workspace.at(home))(replace(step, spec=replace(step.spec, retries=1)))

    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=end_with_parent)
    disturbed = measured()
    neighbour.kill()
    print(json.dumps(disturbances_of(disturbed)))
"""


def test_a_disturbed_run_is_repeated_and_flagged_when_it_stays_so(tmp_path: Path) -> None:
    limit = 0.1 / (os.cpu_count() or 1)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), str(limit)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = json.loads(done.stdout.splitlines()[-1])
    assert "other processes used" in kept
    (attempt,) = (tmp_path / "cache" / "failed" / "performance").iterdir()
    assert "DisturbedRunError" in (attempt / "reason.txt").read_text()
    assert (attempt / "mlperf_log_summary.txt").is_file()
