"""A Prefect server and a worker that can be killed and started again, and a deployment of the flow."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from cli.server import free_port
from mlperf_submission.process import end_group
from tests.conftest import PROGRAM, ROOT
from tests.faults.flows import as_ours, environment
from tests.prefect_site import asked, wait_for

POOL = "faults"
_START_SECONDS = 900.0
_FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Site:
    """One server, one worker, one deployment of the submission flow, all on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/api"
        self.environment = environment(
            PREFECT_HOME=str(folder / "prefect"),
            PREFECT_API_URL=self.url,
            PREFECT_SERVER_API_PORT=str(port),
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            PREFECT_WORKER_QUERY_SECONDS="1",
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        self.start_server()

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(PROGRAM.with_name("prefect")), *words],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=as_ours,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def start_server(self) -> None:
        """Start the server, again on the same port and database; return when it answers."""
        self.server = self._start("server", "server", "start")
        wait_for(f"{self.url}/health")

    def start_worker(self) -> None:
        """Start the worker of this host."""
        self.worker = self._start(
            "worker", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1"
        )

    def deploy(self) -> str:
        """Create the deployment, once the worker has created its pool; return its id."""
        while httpx.get(f"{self.url}/work_pools/{POOL}", timeout=30).status_code != 200:
            time.sleep(0.2)
        flow = self.api("POST", "flows/", name="submission")
        deployment = self.api(
            "POST",
            "deployments/",
            name="faults",
            flow_id=flow["id"],
            entrypoint="flows/submission.py:submission",
            work_pool_name=POOL,
            job_variables=_job_variables(),
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
        )
        return str(deployment["id"])

    def api(self, method: str, path: str, **content: Any) -> Any:
        """Ask the server; one that is busy or away is waited for."""
        return asked(method, f"{self.url}/{path}", content or None)

    def run(self, deployment: str, **parameters: object) -> str:
        """Start a run of the deployment; return its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.api("POST", f"deployments/{deployment}/create_flow_run", **body)["id"])

    def ended(self, run: str, seconds: float) -> tuple[str, str]:
        """Wait for a run's end, for so long; return its state's type and message."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            found = self.api("GET", f"flow_runs/{run}")
            if found["state_type"] in _FINAL:
                return str(found["state_type"]), str(found["state"].get("message") or "")
            time.sleep(0.3)
        raise AssertionError(f"the run is still {found['state_name']}; {self.logs()}")

    def await_flow(self, run: str) -> psutil.Process:
        """Wait for the process of a run that the worker is to start."""
        limit = time.monotonic() + _START_SECONDS
        while time.monotonic() < limit:
            assert self.worker
            for process in psutil.Process(self.worker.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if process.environ().get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == run.replace(
                        "-", ""
                    ):
                        return process
            time.sleep(0.1)
        raise AssertionError(f"the worker did not start {run}; {self.logs()}")

    def end_worker(self, number: signal.Signals) -> None:
        """Send the worker a signal, and wait until it is gone."""
        assert self.worker
        self.worker.send_signal(number)
        self.worker.wait(_START_SECONDS)

    def ensure_worker(self) -> None:
        """Start the worker again if it is gone."""
        if self.worker is None or self.worker.poll() is not None:
            self.start_worker()

    def kill_server(self) -> None:
        """Kill the server as a whole."""
        assert self.server
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()

    def logs(self) -> str:
        """Return what server and worker printed."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.log"))

    def close(self) -> None:
        """End everything."""
        for process in reversed(self._started):
            end_group(process)


def _job_variables() -> dict[str, Any]:
    """Return those of the project's own deployments."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    return dict(content["deployments"][0]["work_pool"]["job_variables"])


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Run a server and a worker for the length of the block."""
    one = Site(folder)
    try:
        one.start_worker()
        yield one
    finally:
        one.close()
