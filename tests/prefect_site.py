"""A real Prefect server with authentication, a worker and a webhook, as an operator has them."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from cli.server import free_port
from mlperf_submission.process import companion
from tests.conftest import PROGRAM, ROOT, clean_environment

SECRET = "admin:a-password-of-some-length"
WAIT_SECONDS = 900.0
"""How long anything is waited for: a busy machine is slow, not broken."""


@dataclass(frozen=True)
class Site:
    """A server that runs; `environment` is that of a client that knows the password."""

    url: str
    folder: Path
    environment: Mapping[str, str]

    def api(self, method: str, path: str, **content: Any) -> Any:
        """Call the server as its pages do."""
        user, _, password = SECRET.partition(":")
        return asked(method, f"{self.url}/{path}", content, auth=(user, password))

    def prefect(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, as an operator does."""
        return subprocess.run(
            arguments,
            cwd=ROOT,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def deploy(
        self, entrypoint: str, flow_name: str, pool: str, deployment_name: str = "test", **parameters: Any
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
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
        )
        return str(deployment["id"])

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a run of a deployment; return its id."""
        run = self.api("POST", f"deployments/{deployment}/create_flow_run", parameters=parameters)
        return str(run["id"])

    def resume(self, run: str, **answer: str) -> dict[str, Any]:
        """Answer the form of a suspended run, as the page's Resume button does."""
        return dict(self.api("POST", f"flow_runs/{run}/resume", run_input=answer))

    def wait(self, run: str, *states: str) -> dict[str, Any]:
        """Wait until a run is in one of the states, by name; return the run."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            found = dict(self.api("GET", f"flow_runs/{run}"))
            if found["state_name"] in states:
                return found
            final = found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            assert not final, f"{found['state_name']}: {found['state'].get('message')}"
            time.sleep(1)
        raise AssertionError(f"{run} did not come to {states}; it is {found['state_name']}")

    @contextmanager
    def worker(self, pool: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Keep a worker at work in this checkout."""
        argv = [str(PROGRAM.with_name("prefect")), "worker", "start", "--pool", pool, "--type", "process"]
        with companion(
            argv, log=self.folder / f"worker-{pool}.log", environment={**self.environment, **environment}
        ) as worker:
            yield worker


@contextmanager
def prefect_site(folder: Path, **settings: str) -> Iterator[Site]:
    """Run a server that asks for a password, for the length of the block."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = clean_environment(
        PREFECT_HOME=str(folder / "prefect"),
        PREFECT_API_URL=url,
        PREFECT_API_AUTH_STRING=SECRET,
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_WORKER_QUERY_SECONDS="3",
        PYTHONPATH=str(ROOT),
        **settings,
    )
    argv = [str(PROGRAM.with_name("prefect")), "server", "start", "--port", str(port)]
    with companion(
        argv,
        log=folder / "server.log",
        environment={**environment, "PREFECT_SERVER_API_AUTH_STRING": SECRET},
    ):
        wait_for(f"{url}/health")
        yield Site(url, folder, environment)


@dataclass
class Webhook:
    """A receiver of notifications."""

    url: str
    texts: list[str] = field(default_factory=list)

    def wait_for(self, *words: str) -> str:
        """Return the first message that holds all of the words."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            for text in list(self.texts):
                if all(word in text for word in words):
                    return text
            time.sleep(0.1)
        raise AssertionError(f"no message with {words}; there are {self.texts}")


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
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = httpx.request(method, url, json=content, timeout=WAIT_SECONDS, **more)
        except (httpx.NetworkError, httpx.RemoteProtocolError):  # trials kill it while it answers
            answer = None
        if answer is not None and answer.status_code < 500:  # SQLite is locked: Prefect's client waits, too
            answer.raise_for_status()
            return answer.json() if answer.content else None
        time.sleep(0.5)
    raise AssertionError(f"{url} did not answer")


def wait_for(address: str) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(address, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{address} did not answer")
