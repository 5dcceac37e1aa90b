"""A Prefect server of our own for the length of one command, on the loopback address.

Prefect's ephemeral server outlives a flow that is killed; this one ends with us, however we end, and it is
started again if it is killed. What a killed command left as running is marked as crashed.

It belongs to its user alone: it asks for a password that only this process knows, its folder is closed to
others, and neither it nor our client of it sees the person's proxies and Prefect settings.
"""

from __future__ import annotations

import gc
import os
import re
import secrets
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, closing, contextmanager
from functools import partial, partialmethod
from importlib import import_module
from pathlib import Path

import certifi
import httpx
from pydantic import ValidationError

from cli.lost_runs import in_use, mark_lost_runs
from mlperf_submission.errors import SettingError, UnreachableError
from mlperf_submission.fetch.http import environment_named
from mlperf_submission.process import companion, end_group, printed, revived

START_SECONDS = 900.0
_DRAIN_SECONDS = 120.0
_END_SECONDS = 60.0
"""So long a server may take to record what it was sent; it is a second."""
_SAID_LINES = 3
_RAISED = re.compile(r"[\w.]*(?:Error|Exception): ")
"""The line of a traceback that says what was raised."""
_HOST = "127.0.0.1"
_DATABASE = "prefect.db"
SCHEMA = Path(__file__).with_name("prefect_schema.sql")
"""The tables of Prefect's database, with blank lines between (`tools.prefect_schema` writes them)."""
_CLIENT: Mapping[str, str] = {
    # The log of a run goes to the server in full, and not to the console, which shows progress.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # A run waits four minutes for a server that is away (2, 4, … 128 s); prefect.yaml says so to deployments.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
}
_KEPT = "PREFECT_LOGGING_"
"""What a person may set while the server is ours: how much is logged."""
_OURS: Mapping[str, str] = {
    # Nothing leaves the machine, and no part of a run depends on a server that it could not reach.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Leases of concurrency limits on disk: in memory, a killed server would leak them.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    # Signs of life, which nobody here watches: each flow would end up to a second later for them.
    "PREFECT_FLOWS": '{"heartbeat_frequency": null}',
    # By default it is SSL_CERT_FILE, also where no certificate is looked at.
    "PREFECT_API_SSL_CERT_FILE": certifi.where(),
}
IDLE_SERVICES = (
    "SCHEDULER",
    "LATE_RUNS",
    "FOREMAN",
    "TRIGGERS",
    "PAUSE_EXPIRATIONS",
    "CANCELLATION_CLEANUP",
    "REPOSSESSOR",
    "CLEANUP_RECONCILER",
)
"""What Prefect does for deployments, workers and automations, of which a server of our own has none. Beside a
measurement it would only take time."""
_SERVER: Mapping[str, str] = {
    **_OURS,
    **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE_SERVICES},
    # The forms of all kinds of blocks: whoever saves a block sends its kind along.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    # By default each change of a task is a transaction, and a run that finds everything is faster than that.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # Its pages nobody could open: they ask for the password. Prefect would copy them into its installation.
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    # Relative to the folder that it works in: SQLAlchemy has no way to quote a path in an address.
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{_DATABASE}",
}


@contextmanager
def prefect_server(home: Path, log: Path, *, used_by: str | None = None) -> Iterator[str]:
    """Yield the address of a Prefect API: the configured one (PREFECT_API_URL), or a server of our own.

    Must be entered before `prefect` is imported: Prefect reads its settings from the environment, once.

    Args:
        home: PREFECT_HOME of a server of our own (database, results).
        log: what that server prints.
        used_by: a module that imports Prefect; it is imported while the server starts, which takes as long.

    Raises:
        UnreachableError: the server did not come up; the message has what it printed last.
    """
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        with _environment({**_CLIENT, **os.environ}):
            with environment_named():
                httpx.Client().close()
            import_prefect()
            yield configured
        return
    _make_private(home)
    port, password = free_port(), f"mlperf:{secrets.token_urlsafe(32)}"
    address = f"http://{_HOST}:{port}/api"
    argv = [sys.executable, "-m", "uvicorn", "--factory", "cli.prefect_app:create_app"]
    argv += ["--host", _HOST, "--port", str(port), "--log-level", "error"]
    # Prefect asks for the user's folder when it is imported, and a user of a container may have none.
    shared = {"HOME": os.environ.get("HOME") or str(home), "PREFECT_HOME": str(home)}
    settings = {**_SERVER, **shared, "PREFECT_SERVER_API_AUTH_STRING": password}
    begin = log.stat().st_size if log.exists() else 0
    serve = partial(companion, argv, log=log, environment=settings, cwd=home, grace=_END_SECONDS)
    with serve() as server:
        reached = {**shared, "PREFECT_API_URL": address, "PREFECT_API_AUTH_STRING": password}
        with _environment({**_CLIENT, **_without_prefect(), **_OURS, **reached, **_no_proxy()}):
            # Prefect also reads `.env`, `prefect.toml` and `pyproject.toml` of the folder it is imported in.
            with collector_at_rest():
                with chdir(home):
                    import_prefect()
                _ask_no_proxy()
                if used_by:
                    import_module(used_by)
            deadline = time.monotonic() + START_SECONDS
            with httpx.Client(base_url=address, timeout=2, trust_env=False) as client:
                while not _answers(client):
                    if server.poll() is not None:
                        raise _failed(f"ended with exit status {server.returncode}", log, begin)
                    if time.monotonic() > deadline:
                        raise _failed(f"did not answer within {START_SECONDS:.0f} s", log, begin)
                    time.sleep(0.1)
            with ExitStack() as held, revived(server, serve, log):
                held.enter_context(in_use(home, mark_lost_runs))
                # A command that comes now must not take for lost what this server has still to record.
                held.callback(end_group, server, _END_SECONDS)
                try:
                    yield address
                finally:
                    send_what_is_queued()


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Import what stays without the garbage collector looking through it, now and later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def import_prefect() -> None:
    """Import Prefect, which reads its settings then.

    Raises:
        SettingError: it refuses one; the message names it.
    """
    try:
        import prefect.main  # noqa: F401
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise SettingError(
            f"Prefect refuses a setting of {error.title}: {'; '.join(wrong)}",
            where="PREFECT_… in the environment, or Prefect's settings files",
            remedy="correct or unset it",
        ) from None


def _ask_no_proxy() -> None:
    """Let Prefect's clients ask no proxy.

    httpx reads all that are set, and their exceptions, before it knows which address it is for: one that it
    cannot use would end every call to our own server.
    """
    from prefect.client import base

    for client in (base.PrefectHttpxAsyncClient, base.PrefectHttpxSyncClient):
        setattr(client, "__init__", partialmethod(client.__init__, trust_env=False))  # noqa: B010


def _make_private(home: Path) -> None:
    """Make the folder and its database, if they are not there, and close them to other users."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    database = home / _DATABASE
    database.touch(0o600)
    database.chmod(0o600)
    if not database.stat().st_size:
        make_database(database)


def make_database(path: Path) -> None:
    """Make Prefect's tables in an empty database; somebody else may be doing the same.

    Prefect itself makes them by all migrations that it ever had, which takes five seconds. What this file of
    tables is too old for, it still makes when it starts.
    """
    with closing(sqlite3.connect(path, timeout=START_SECONDS, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in SCHEMA.read_text(encoding="utf-8").split(";\n\n"):
                database.execute(statement)
        database.execute("COMMIT")


def _without_prefect() -> dict[str, str]:
    """Return our environment without the Prefect settings of the person."""
    mine = os.environ.items()
    return {name: value for name, value in mine if not name.startswith("PREFECT_") or name.startswith(_KEPT)}


def _no_proxy() -> dict[str, str]:
    """Return the two variables that keep clients from asking a proxy for the loopback address.

    Lower case wins where a client reads both.
    """
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(filter(None, (excepted, _HOST))))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have this environment and no other for the length of the block."""
    before = dict(os.environ)
    _become(variables)
    try:
        yield
    finally:
        _become(before)


def _become(variables: Mapping[str, str]) -> None:
    """Change the environment to this one; threads that read it meanwhile find what both have."""
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)


def _failed(how: str, log: Path, begin: int) -> UnreachableError:
    lines = printed(log, begin)
    raised = [line for line in lines if _RAISED.match(line)]
    said = " | ".join(raised[-1:] or lines[-_SAID_LINES:])
    return UnreachableError(
        f"the command's own Prefect server {how}: {said or 'it printed nothing'}",
        where=log,
        remedy="mend what it says, and start the same command again: finished steps are kept",
    )


def free_port() -> int:
    """Return a TCP port on the loopback address that was free just now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def send_what_is_queued() -> None:
    """Send the last log lines and events: Prefect does so at exit, when this server is gone."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_DRAIN_SECONDS)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False
