"""The command's own Prefect server: nobody else reaches it, and nothing of the person's settings does."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from cli.server import IDLE_SERVICES, prefect_server
from mlperf_submission.errors import UnreachableError
from tests.conftest import ROOT, clean_environment, shell

SCRIPT = """
import pwd
import sys
from pathlib import Path

import httpx

from cli.server import prefect_server

pwd.getpwuid = {}.__getitem__  # as for a user without an entry
home = Path(sys.argv[1])
with prefect_server(home, home.with_name("prefect.log")) as address:
    from prefect import flow, get_client, task

    for path in ("flow_runs/filter", "admin/database/clear"):
        answer = httpx.post(f"{address}/{path}", json={}, trust_env=False)
        assert answer.status_code == 401, (path, answer)
    step = task(name="step")(lambda: 1)
    flow(name="story")(lambda: step())()
    with get_client(sync_client=True) as client:
        print(*(run.state_name for run in client.read_flow_runs()))
print("over")
"""
HOSTILE = {
    **dict.fromkeys(("HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("ALL_PROXY", "all_proxy"), "socks5://127.0.0.1:9"),
    "HTTPS_PROXY": "::::",
    "NO_PROXY": "example.org,http://[::1",
    "SSL_CERT_FILE": "/no/such",
    "SSL_CERT_DIR": "/no/such",
    "PREFECT_API_AUTH_STRING": "another:password",
    "PREFECT_API_KEY": "a key of Prefect Cloud",
    "PREFECT_SERVER_API_BASE_PATH": "/elsewhere",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://nobody@127.0.0.1:9/nothing",
    "PREFECT_PROFILE": "nosuch",
    "UVICORN_ROOT_PATH": "/elsewhere",
    "WEB_CONCURRENCY": "3",
}


def test_a_server_of_our_own_is_private_and_out_of_reach_of_the_persons_settings(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "prefect.toml").write_text(
        '[server.api]\nbase_path = "/elsewhere"\n[client]\nmax_retries = "many"\n'
    )
    (here / ".env").write_text("PREFECT_API_REQUEST_TIMEOUT=soon\n")
    home = tmp_path / "w?x%20#y" / "prefect"
    environment = clean_environment(PYTHONPATH=str(ROOT), **HOSTILE)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(home)],
        cwd=here,
        env={name: value for name, value in environment.items() if name != "HOME"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["Completed", "over"]
    assert home.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in home.glob("prefect.db*")} == {0o600}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "w?x%20#y"]


MANY = """
import fcntl
import sys
from pathlib import Path

from cli import server
from cli.server import prefect_server

home = Path(sys.argv[1])
end = server.end_group


def end_in_use(*ended):
    with (home / "in-use.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            end(*ended)
            print("in use until it has ended")


server.end_group = end_in_use
with prefect_server(home, home.with_name("prefect.log")):
    from prefect import flow, task

    step = task(name="step")(lambda _: None)
    part = flow(name="part")(lambda: [step(number) for number in range(80)] and None)
    flow(name="whole")(lambda: [part(), part()] and None)()
"""


def test_all_that_a_command_sent_is_recorded_when_it_ends(tmp_path: Path) -> None:
    """Prefect's server falls behind a burst of tasks, whose states and events would be lost."""
    home = tmp_path / "prefect"
    done = shell(sys.executable, "-c", MANY, str(home), PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in use until it has ended" in done.stdout
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        tasks = Counter(database.execute("select flow_run_id, state_name from task_run"))
        events = dict(database.execute("select event, count(*) from events group by event"))
    assert sorted(tasks.values()) == [2, 80, 80], "the parts, and the steps of each"
    assert {state for _, state in tasks} == {"Completed"}
    assert events["prefect.task-run.Running"] == events["prefect.task-run.Completed"] == 160


def test_the_services_that_are_turned_off_are_prefects() -> None:
    from prefect.settings.models.server.services import ServerServicesSettings

    assert {name.lower() for name in IDLE_SERVICES} <= ServerServicesSettings.model_fields.keys()


def test_a_server_that_cannot_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    (home / "prefect.db").write_text("this is no database " * 100)
    with (
        pytest.raises(UnreachableError, match=r"ended with exit status \d+: .*file is not a database"),
        prefect_server(home, tmp_path / "prefect.log"),
    ):
        pass
    assert "PREFECT_API_URL" not in os.environ


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PREFECT_LOGGING_LEVEL", "loud", "Prefect refuses a setting of "),
        ("NO_PROXY", "http://[::1", "the settings for proxies or certificates cannot be used: "),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(variable: str, value: str, told: str) -> None:
    program = "from cli.server import prefect_server\nwith prefect_server(None, None): pass"
    settings = {"PREFECT_API_URL": "http://127.0.0.1:9/api", variable: value}
    done = shell(sys.executable, "-c", program, cwd=ROOT, PYTHONPATH=str(ROOT), **settings)
    assert f"SettingError: {told}" in done.stderr


def test_a_server_that_the_person_names_is_used_with_their_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example.org/api")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "their:password")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org")
    with prefect_server(tmp_path / "prefect", tmp_path / "log") as address:
        assert address == "http://prefect.example.org/api"
        assert os.environ["PREFECT_API_AUTH_STRING"] == "their:password"
        assert os.environ["HTTP_PROXY"] == "http://proxy.example.org"
        assert "NO_PROXY" not in os.environ
    assert list(tmp_path.iterdir()) == []
