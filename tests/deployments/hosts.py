"""What the tests of deployments start for real, and end: PostgreSQL, Prefect's server, workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from cli.server import free_port
from mlperf_submission.process import end_group
from tests.conftest import ROOT, clean_environment, hear_ctrl_c
from tests.prefect_site import asked, wait_for

BINARIES = ROOT / ".venv" / "bin"
_START_SECONDS = 900.0
_POLL_SECONDS = 1.0
"""Asking more often takes the time of a small machine away from what is asked for."""


def postgres_folder() -> Path | None:
    """Return where PostgreSQL's programs lie; Debian keeps them off the path. None if it is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the address of an empty database, as Prefect takes it. PostgreSQL never runs as root."""
    programs = postgres_folder()
    assert programs
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="mlperf-postgres-"))
    try:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        data, port = folder / "data", free_port()
        making = [f"{programs}/initdb", "--auth=trust", "--username=prefect", "--no-sync", f"--pgdata={data}"]
        subprocess.run(making, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)
        serving = [f"{programs}/postgres", f"-D{data}", "-h127.0.0.1", f"-p{port}", f"-k{folder}"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                serving, cwd=folder, stdout=log, stderr=log, start_new_session=True, **user
            )
        try:
            asking = [f"{programs}/pg_isready", "--host=127.0.0.1", f"--port={port}", "--quiet"]
            until(lambda: subprocess.run(asking, check=False).returncode == 0, "PostgreSQL")
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        finally:
            end_group(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Cluster:
    """A Prefect server with its workers; every one is a process of its own, as on hosts of their own."""

    def __init__(self, folder: Path, database: str | None, **environment: str) -> None:
        self.folder = folder
        port = free_port()
        self.address = f"http://127.0.0.1:{port}/api"
        self.environment = clean_environment(
            PREFECT_HOME=str(folder / "prefect"),
            PREFECT_SERVER_API_PORT=str(port),
            PREFECT_API_URL=self.address,
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            PREFECT_WORKER_QUERY_SECONDS="3",
            PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS="1",
            PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS="5",
            **environment,
        )
        if database:
            self.environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database

    @contextmanager
    def server(self) -> Iterator[None]:
        """The server, which answers, for the length of the block."""
        with self._running("server", "prefect", "server", "start"):
            wait_for(f"{self.address}/health")
            yield

    def worker(self, queue: str, limit: int = 1) -> AbstractContextManager[None]:
        """The worker of one host, for the length of the block."""
        command = ["worker", "start", "--pool", "mlperf", "--work-queue", queue, "--limit", str(limit)]
        return self._running(f"worker-{queue}", "prefect", *command, "--name", queue)

    @contextmanager
    def _running(self, name: str, *command: str) -> Iterator[None]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [BINARIES / command[0], *command[1:]],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=hear_ctrl_c,
                start_new_session=True,
            )
        try:
            yield
        finally:
            end_group(process)

    def pool(self, queues: Mapping[str, int | None]) -> None:
        """Create the work pool with queues beside `default`, each with its limit."""
        self.post("work_pools/", {"name": "mlperf", "type": "process"})
        for name, limit in queues.items():
            self.post("work_pools/mlperf/queues", {"name": name, "concurrency_limit": limit})

    def deploy(self, file: Path) -> None:
        """`prefect deploy --all`, as an operator says it."""
        command = [str(BINARIES / "prefect"), "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def get(self, path: str) -> Any:
        """Ask the server."""
        return asked("GET", f"{self.address}/{path}")

    def post(self, path: str, body: object) -> Any:
        """Tell the server."""
        return asked("POST", f"{self.address}/{path}", body)

    def run(self, deployment: str, **parameters: object) -> str:
        """Start a run of a deployment; return its id."""
        found = self.get(f"deployments/name/{deployment}")
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.post(f"deployments/{found['id']}/create_flow_run", body)["id"])

    def set_state(self, run: UUID, kind: str, message: str = "") -> None:
        """Say what became of a flow run that no worker takes."""
        state = {"type": kind, "message": message}
        self.post(f"flow_runs/{run}/set_state", {"state": state, "force": True})

    def schedule(self, deployment: str, seconds: float) -> datetime:
        """Give a deployment a schedule that is due in so many seconds, then every minute; return when."""
        due = datetime.now(UTC) + timedelta(seconds=seconds)
        found = self.get(f"deployments/name/{deployment}")
        minutely = {"interval": 60, "anchor_date": due.isoformat(), "timezone": "Europe/Berlin"}
        self.post(f"deployments/{found['id']}/schedules", [{"schedule": minutely, "active": True}])
        return due

    def scheduled(self, deployment: str) -> list[dict[str, Any]]:
        """Return the runs of a deployment that wait for a worker."""
        found = self.get(f"deployments/name/{deployment}")
        states = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        body = {"deployments": {"id": {"any_": [found["id"]]}}, "flow_runs": states}
        return list(self.post("flow_runs/filter", body))

    def events_of(self, resource: str) -> list[dict[str, Any]]:
        """Return the events of a resource that the server has received."""
        body = {"filter": {"any_resource": {"id": [resource]}, "order": "ASC"}}
        return list(self.post("events/filter", body)["events"])

    def runs_of(self, flow: str) -> list[dict[str, Any]]:
        """Return the runs of a flow that have started, the first first."""
        body = {"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [run for run in self.post("flow_runs/filter", body) if run["start_time"]]

    def ended(self, run: str, seconds: float = _START_SECONDS) -> dict[str, Any]:
        """Wait for a flow run's end, and return it."""
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        found: dict[str, Any] = {}

        def has_ended() -> bool:
            found.update(self.get(f"flow_runs/{run}"))
            return found["state_type"] in final

        until(has_ended, f"flow run {run}", seconds)
        return found

    def logs(self) -> str:
        """Return what server and workers printed, for a failing test."""
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))


@contextmanager
def cluster(folder: Path, database: str | None = None, **environment: str) -> Iterator[Cluster]:
    """Yield a running Prefect server without workers."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Cluster(folder, database, **environment)
    with found.server():
        yield found


def until(holds: Callable[[], bool], what: str, seconds: float = _START_SECONDS) -> None:
    """Wait until something holds; a server that does not answer yet does not hold."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except httpx.HTTPError:
            pass
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"waited in vain for {what}")


def prefect_file(path: Path, deployments: Sequence[Mapping[str, Any]]) -> Path:
    """Write a file that `prefect deploy` takes, with the project's folder as the one that runs start in."""
    import yaml

    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
    path.write_text(yaml.safe_dump({"name": "test", "pull": pull, "deployments": list(deployments)}))
    return path
