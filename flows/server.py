"""A Prefect server of our own for the length of one command, on the loopback address.

Prefect's ephemeral server outlives a flow that is killed; this one ends with us, however we end, and it is
started again if it is killed. What a killed command left as running is marked as crashed.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from common.errors import UnreachableError
from common.process import companion, revived
from flows.lost_runs import in_use, mark_lost_runs

START_SECONDS = 180.0
_DRAIN_SECONDS = 10.0
_PATIENCE = "7"
"""A run waits four minutes for a server that is away (2, 4, … 128 s); prefect.yaml says so to deployments."""
_SETTINGS: Mapping[str, str] = {
    # Nothing leaves the machine, and no part of a run depends on a server that it could not reach.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Leases of concurrency limits on disk: in memory, a killed server would leak them.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
}


@contextmanager
def prefect_server(home: Path, log: Path) -> Iterator[str]:
    """Yield the address of a Prefect API: the configured one (PREFECT_API_URL), or a server of our own.

    Must be entered before `prefect` is imported: Prefect reads its settings from the environment, once. The
    log of a run goes to the server in full, and not to the console, which shows progress.

    Args:
        home: PREFECT_HOME of a server of our own (database, results).
        log: what that server prints.

    Raises:
        UnreachableError: the server did not come up; its log says why.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", _PATIENCE)
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        yield configured
        return
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home))
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    port = free_port()
    address = f"http://127.0.0.1:{port}/api"
    argv = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    quiet = {"PREFECT_LOGGING_SERVER_LEVEL": "ERROR"}
    with companion(argv, log=log, environment=quiet) as server:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(address):
            if server.poll() is not None or time.monotonic() > deadline:
                raise UnreachableError(
                    "the Prefect server did not start",
                    where=log,
                    remedy="its log says why; is the disk full?",
                )
            time.sleep(0.1)
        os.environ["PREFECT_API_URL"] = address
        with revived(server, argv, log=log, environment=quiet), in_use(home, mark_lost_runs):
            try:
                yield address
            finally:
                send_what_is_queued()
                del os.environ["PREFECT_API_URL"]


def free_port() -> int:
    """Return a TCP port on the loopback address that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def send_what_is_queued() -> None:
    """Send the last log lines and events: Prefect does so at exit, when this server is gone."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_DRAIN_SECONDS)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
