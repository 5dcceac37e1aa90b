"""A real Prefect server with workers, and a webhook, as an operator has them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from cli.server import free_port, make_database
from mlperf_submission.process import end_group, end_with_parent
from tests import waiting
from tests.conftest import PROGRAM, ROOT, clean_environment, hear_ctrl_c
from tests.waiting import PATIENCE

SECRET = "admin:a-password-of-some-length"
POOL = "mlperf"
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
IN_CHECKOUT = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
_NONE: Mapping[str, str] = MappingProxyType({})
_POLL_SECONDS = 0.5
"""Asking more often takes the time of a small machine away from what is asked for."""


def as_ours() -> None:
    """Be called in a child before it begins: it hears Ctrl-C, and ends with the tests if they are ended."""
    hear_ctrl_c()
    end_with_parent()


class Site:
    """A Prefect server and its workers; every one is a process of its own, as on hosts of their own.

    Args:
        folder: of the database and the logs.
        password: what the server asks for, `<user>:<password>`; empty: nothing.
        settings: Prefect's settings of server, workers and clients.

    `url` is where the server answers, `environment` that of a client that may ask it.
    """

    def __init__(self, folder: Path, password: str = "", **settings: str) -> None:
        port = free_port()
        self.folder, self.url = folder, f"http://127.0.0.1:{port}/api"
        self._password = password
        self.environment = clean_environment(
            PREFECT_HOME=str(folder / "prefect"),
            PREFECT_API_URL=self.url,
            PREFECT_SERVER_API_PORT=str(port),
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS="5",
            PREFECT_WORKER_QUERY_SECONDS="3",
            PYTHONPATH=str(ROOT),
            **({"PREFECT_API_AUTH_STRING": password} if password else {}),
            **settings,
        )
        database = folder / "prefect" / "prefect.db"
        if not database.exists():
            database.parent.mkdir(parents=True)
            make_database(database)
        self._started: list[subprocess.Popen[bytes]] = []
        self.start_server()

    def begin(self, name: str, *words: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a command of Prefect's; what it prints goes to `<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(PROGRAM.with_name("prefect")), *words],
                cwd=ROOT,
                env={**self.environment, **more},
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
        asks = {"PREFECT_SERVER_API_AUTH_STRING": self._password} if self._password else {}
        self.server = self.begin("server", "server", "start", **asks)
        wait_for(f"{self.url}/health")

    def kill_server(self) -> None:
        """Kill the server as a whole."""
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()

    @contextmanager
    def worker(
        self, pool: str = POOL, queue: str = "", limit: int = 1, environment: Mapping[str, str] = _NONE
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A worker, for the length of the block; that of a queue does so many things at a time."""
        words = ["--pool", pool, "--type", "process"]
        words += ["--work-queue", queue, "--name", queue, "--limit", str(limit)] if queue else []
        process = self.begin(f"worker-{queue or pool}", "worker", "start", *words, **environment)
        try:
            yield process
        finally:
            end_group(process)

    def close(self) -> None:
        """End everything."""
        for process in reversed(self._started):
            end_group(process)

    def logs(self) -> str:
        """Return what server and workers printed last, for a failing test."""
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text()[-9000:]}" for path in paths)

    def api(self, method: str, path: str, body: object = None, **content: Any) -> Any:
        """Call the server as its pages do."""
        user, _, password = self._password.partition(":")
        sent = body or (content if method == "POST" else None)
        return asked(method, f"{self.url}/{path}", sent, auth=(user, password) if user else None)

    def prefect(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, as an operator does."""
        return subprocess.run(
            arguments,
            cwd=ROOT,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def pool(self, name: str = POOL, queues: Mapping[str, int | None] = MappingProxyType({})) -> None:
        """Create a work pool, with queues beside `default`, each with its limit."""
        self.api("POST", "work_pools/", name=name, type="process")
        for queue, limit in queues.items():
            self.api("POST", f"work_pools/{name}/queues", name=queue, concurrency_limit=limit)

    def deploy_all(self, file: Path, **more: str) -> None:
        """`prefect deploy --all`, as an operator says it."""
        done = self.prefect("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file), **more)
        assert done.returncode == 0, done.stdout + done.stderr

    def deploy(
        self,
        entrypoint: str,
        flow_name: str,
        pool: str,
        deployment_name: str = "test",
        **parameters: Any,
    ) -> str:
        """Create a deployment of a flow in this checkout; return its id."""
        flow = self.api("POST", "flows/", name=flow_name)
        deployment = self.api(
            "POST",
            "deployments/",
            name=deployment_name,
            flow_id=flow["id"],
            entrypoint=entrypoint,
            parameters=parameters,
            work_pool_name=pool,
            pull_steps=IN_CHECKOUT,
        )
        return str(deployment["id"])

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a deployment, by `<flow>/<name>`."""
        return dict(self.api("GET", f"deployments/name/{name}"))

    def schedule(self, deployment: str, seconds: float) -> datetime:
        """Give a deployment a schedule that is due in so many seconds, then every minute; return when."""
        due = datetime.now(UTC) + timedelta(seconds=seconds)
        minutely = {"interval": 60, "anchor_date": due.isoformat(), "timezone": "Europe/Berlin"}
        schedules = [{"schedule": minutely, "active": True}]
        self.api("POST", f"deployments/{self.deployment(deployment)['id']}/schedules", schedules)
        return due

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a run of a deployment, by its id or `<flow>/<name>`; return the run's id."""
        found = self.deployment(deployment)["id"] if "/" in deployment else deployment
        asks = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.api("POST", f"deployments/{found}/create_flow_run", asks)["id"])

    def resume(self, run: str, **answer: str) -> dict[str, Any]:
        """Answer the form of a suspended run, as the page's Resume button does."""
        return dict(self.api("POST", f"flow_runs/{run}/resume", run_input=answer))

    def scheduled(self, deployment: str) -> list[dict[str, Any]]:
        """Return the runs of a deployment that wait for a worker."""
        named = {"id": {"any_": [self.deployment(deployment)["id"]]}}
        waiting = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        return list(self.api("POST", "flow_runs/filter", deployments=named, flow_runs=waiting))

    def events_of(self, resource: str) -> list[dict[str, Any]]:
        """Return the events of a resource that the server has received, the first first."""
        asked_for = {"any_resource": {"id": [resource]}, "order": "ASC"}
        return list(self.api("POST", "events/filter", filter=asked_for)["events"])

    def set_state(self, run: object, kind: str, message: str = "") -> None:
        """Say what became of a flow run that no worker takes."""
        state = {"type": kind, "message": message}
        self.api("POST", f"flow_runs/{run}/set_state", state=state, force=True)

    def runs_of(self, flow: str) -> list[dict[str, Any]]:
        """Return the runs of a flow that have started, the first first."""
        flows = {"name": {"any_": [flow]}}
        runs = self.api("POST", "flow_runs/filter", flows=flows, sort="EXPECTED_START_TIME_ASC")
        return [run for run in runs if run["start_time"]]

    def wait(self, run: str, *states: str) -> dict[str, Any]:
        """Wait until a run is in one of the states, by name, or without any until it ends; return the run."""
        found: dict[str, Any] = {}

        def is_there() -> bool:
            found.update(self.api("GET", f"flow_runs/{run}"))
            final = found["state_type"] in FINAL
            said = f"{found['state_name']}: {(found['state'] or {}).get('message')}"
            assert not (final and states) or found["state_name"] in states, f"{said}\n{self.logs()}"
            return found["state_name"] in states if states else final

        until(is_there, f"the end of flow run {run}")
        return found


@contextmanager
def prefect_site(folder: Path, password: str = "", **settings: str) -> Iterator[Site]:
    """Run a server for the length of the block."""
    site = Site(folder, password, **settings)
    try:
        yield site
    finally:
        site.close()


@dataclass
class Webhook:
    """A receiver of notifications."""

    url: str
    texts: list[str] = field(default_factory=list)

    def wait_for(self, *words: str) -> str:
        """Return the first message that holds all of the words."""
        found: list[str] = []

        def has_come() -> bool:
            found[:] = [text for text in list(self.texts) if all(word in text for word in words)]
            return bool(found)

        until(has_come, f"a message with {words}; there are {self.texts}")
        return found[0]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Receive what is posted as JSON to an address with a secret in it."""
    received = Webhook("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if self.path == "/hook/secret" else 404)
            self.end_headers()
            received.texts.append(json.loads(body)["text"])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_address[1]}/hook/secret"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()


def asked(method: str, url: str, content: object = None, **more: Any) -> Any:
    """Ask a Prefect server for something; one that is busy, or away for a moment, is waited for.

    Raises:
        httpx.HTTPStatusError: it refused.
        AssertionError: it did not answer.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            answer = httpx.request(method, url, json=content, timeout=PATIENCE, **more)
        except (httpx.NetworkError, httpx.RemoteProtocolError):  # trials kill it while it answers
            answer = None
        if answer is not None and answer.status_code < 500:  # SQLite is locked: Prefect's client waits, too
            answer.raise_for_status()
            return answer.json() if answer.content else None
        time.sleep(0.5)
    raise AssertionError(f"{url} did not answer")


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; a server that does not answer yet does not hold."""

    def does_hold() -> bool:
        with suppress(httpx.HTTPError):
            return holds()
        return False

    waiting.until(does_hold, what, pause=_POLL_SECONDS)


def wait_for(address: str) -> None:
    """Wait until a server answers."""
    until(lambda: httpx.get(address, timeout=2).status_code == 200, address)
