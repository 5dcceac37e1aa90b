"""A Prefect site whose worker can be killed and started again, and a deployment of the flow."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.conftest import ROOT
from tests.prefect_site import FINAL, POOL, Site
from tests.waiting import PATIENCE


class Breakable(Site):
    """One server, one worker, one deployment of the submission flow, all on this machine."""

    host: subprocess.Popen[bytes] | None = None

    def start_worker(self) -> None:
        """Start the worker of this host."""
        words = ["--pool", POOL, "--type", "process", "--limit", "1"]
        self.host = self.begin("worker", "worker", "start", *words)

    def deploy_submission(self) -> str:
        """Create the deployment; return its id."""
        made = self.deploy("flows/submission.py:submission", "submission", POOL)
        self.api("PATCH", f"deployments/{made}", {"job_variables": _job_variables()})
        return made

    def ended(self, run: str, seconds: float) -> tuple[str, str]:
        """Wait for a run's end, for so long; return its state's type and message."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            found = self.api("GET", f"flow_runs/{run}")
            if found["state_type"] in FINAL:
                return str(found["state_type"]), str(found["state"].get("message") or "")
            time.sleep(0.3)
        raise AssertionError(f"the run is still {found['state_name']}; {self.logs()}")

    def await_flow(self, run: str) -> psutil.Process:
        """Wait for the process of a run that the worker is to start."""
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            assert self.host
            for process in psutil.Process(self.host.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if process.environ().get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == run.replace(
                        "-", ""
                    ):
                        return process
            time.sleep(0.1)
        raise AssertionError(f"the worker did not start {run}; {self.logs()}")

    def end_worker(self, number: signal.Signals) -> None:
        """Send the worker a signal, and wait until it is gone."""
        assert self.host
        self.host.send_signal(number)
        self.host.wait(PATIENCE)

    def ensure_worker(self) -> None:
        """Start the worker again if it is gone."""
        if self.host is None or self.host.poll() is not None:
            self.start_worker()


def _job_variables() -> dict[str, Any]:
    """Return those of the project's own deployments."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    return dict(content["deployments"][0]["work_pool"]["job_variables"])


@contextmanager
def site(folder: Path) -> Iterator[Breakable]:
    """Run a server and a worker for the length of the block."""
    with closing(Breakable(folder)) as one:
        one.pool()
        one.start_worker()
        yield one
