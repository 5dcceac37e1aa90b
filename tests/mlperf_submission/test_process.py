"""Children that end with their parent, at their limit, and as a whole group; errors that come back whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from mlperf_submission.errors import SourceError, StepFailedError, StepTimeoutError
from mlperf_submission.process import companion, progress_in, revived, run_command, run_module
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import json, os, sys, time
from mlperf_submission.errors import SourceError
from mlperf_submission.process import LOCKED_LINE, print_progress, serve_request

def main(request):
    if request["do"] == "echo":
        print_progress(1, 4)
        print("a line ✓")
        return {"got": request}
    if request["do"] == "refuse":
        raise SourceError("a file is missing", where="there", remedy="bring it")
    if request["do"] == "die":
        print("last words"); sys.stdout.flush(); os.abort()
    if request["do"] == "lock":
        time.sleep(4)
        print(LOCKED_LINE, flush=True)
        return {}
    if request["do"] == "look":
        opened = [int(name) for name in os.listdir("/proc/self/fd")]
        return {
            "who": os.environ["WHO"],
            "folder": os.getcwd(),
            "pid": os.getpid(),
            "group": os.getpgid(0),
            "open": sorted(one for one in opened if os.path.exists(f"/proc/self/fd/{one}")),
        }
    if request["do"] == "meet":
        open(request["mine"], "w").close()
        while not os.path.exists(request["other"]):
            time.sleep(0.01)
        return {}
    print("waiting", flush=True)
    time.sleep(60)

if __name__ == "__main__":
    serve_request(main)
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "child_for_tests.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "child_for_tests"


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_a_child_gets_its_request_and_gives_its_result(
    child: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")  # as a locale that lacks what the child prints
    lines: list[str] = []
    log = tmp_path / "log"
    request = {"do": "echo", "deep": [1, {"two": None}]}
    got = run_module(child, request, timeout_seconds=PATIENCE, on_line=lines.append, log=log)
    assert got == {"got": request}
    assert [progress_in(line) for line in lines] == [0.25, None]
    assert log.read_text().splitlines()[-1] == "a line ✓"


def test_an_error_of_ours_comes_back_with_its_place_and_remedy(child: str) -> None:
    with pytest.raises(SourceError) as caught:
        run_module(child, {"do": "refuse"}, timeout_seconds=PATIENCE)
    assert (caught.value.what, caught.value.where, caught.value.remedy) == (
        "a file is missing",
        "there",
        "bring it",
    )


def test_a_child_that_dies_is_named_with_its_signal_and_last_words(child: str) -> None:
    with pytest.raises(StepFailedError, match=r"SIGABRT.*last words"):
        run_module(child, {"do": "die"}, timeout_seconds=PATIENCE)


def test_a_child_over_its_limit_is_ended(child: str) -> None:
    with pytest.raises(StepTimeoutError, match="over its limit of 1 s"):
        run_module(child, {"do": "sleep"}, timeout_seconds=1)


def test_children_of_one_server_know_nothing_of_each_other(
    child: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("WHO", name)
        (tmp_path / name).mkdir()
        seen = run_module(child, {"do": "look"}, timeout_seconds=PATIENCE, cwd=tmp_path / name)
        assert (seen["who"], seen["folder"]) == (name, str(tmp_path / name))
        assert seen["group"] == seen["pid"]
        assert seen["open"] == [0, 1, 2]


def test_a_child_whose_server_is_killed_is_told_as_killed_and_the_next_gets_another_server(
    child: str,
) -> None:
    def kill(_: str) -> None:
        [server] = [one for one in psutil.Process().children() if "fork_server" in " ".join(one.cmdline())]
        server.kill()

    with pytest.raises(StepFailedError, match="SIGKILL"):
        run_module(child, {"do": "sleep"}, timeout_seconds=PATIENCE, on_line=kill)
    assert run_module(child, {"do": "echo"}, timeout_seconds=PATIENCE) == {"got": {"do": "echo"}}


def test_children_run_beside_each_other(child: str, tmp_path: Path) -> None:
    def call(name: str) -> dict[str, object]:
        request = {
            "do": "meet",
            "mine": str(tmp_path / name),
            "other": str(tmp_path / {"a": "b", "b": "a"}[name]),
        }
        return run_module(child, request, timeout_seconds=PATIENCE)

    with ThreadPoolExecutor() as threads:
        assert list(threads.map(call, "ab")) == [{}, {}]


def test_the_limit_counts_from_the_lock(child: str) -> None:
    assert run_module(child, {"do": "lock"}, timeout_seconds=3, waits_for_lock=True) == {}


def test_the_whole_group_is_ended_at_the_limit(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 61 & echo $! > {pid_file}; wait"
    with pytest.raises(StepTimeoutError):
        run_command(["sh", "-c", script], timeout_seconds=3)
    until(lambda: not alive(int(pid_file.read_text())))


def test_a_companion_sees_nothing_of_the_persons_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "HTTPS_PROXY",
        "all_proxy",
        "AWS_PROFILE",
        "RCLONE_EXCLUDE",
        "PREFECT_PROFILE",
        "PYTHONSTARTUP",
    ):
        monkeypatch.setenv(name, "the person's")
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    log = tmp_path / "log"
    with companion(["env"], log=log, environment={"OURS": "1"}, cwd=tmp_path) as server:
        server.wait(PATIENCE)
    seen = dict(line.split("=", 1) for line in log.read_text().splitlines())
    assert "the person's" not in seen.values()
    assert (seen["OURS"], seen["TZ"], seen["PATH"]) == ("1", "Asia/Kathmandu", os.environ["PATH"])


def test_children_and_companions_end_with_a_parent_that_is_killed(child: str, tmp_path: Path) -> None:
    script = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from mlperf_submission.process import companion, run_module\n"
        "with companion(['sleep', '62'], log=Path(sys.argv[1])) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    run_module(sys.argv[2], {'do': 'sleep'}, timeout_seconds=60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log"), child],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    server = int(parent.stdout.readline())

    def working() -> list[psutil.Process]:
        started = psutil.Process(parent.pid).children(recursive=True)
        return [one for one in started if one.name() == "child_for_tests"]

    until(lambda: bool(working()))
    started = [one.pid for one in psutil.Process(parent.pid).children(recursive=True)]
    assert server in started
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not any(map(alive, started)), "the end of every child")


def test_a_companion_runs_for_the_length_of_its_block(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log"
    with companion(["sh", "-c", "echo hello $WHO; sleep 60"], log=log, environment={"WHO": "you"}) as server:
        until(lambda: log.read_text() == "hello you\n")
        assert server.poll() is None
    assert not alive(server.pid)


def test_a_companion_that_is_killed_is_started_again_until_its_block_ends(tmp_path: Path) -> None:
    log, pids = tmp_path / "log", tmp_path / "pids"
    start = partial(companion, ["sh", "-c", f"echo $$ >> {pids}; exec sleep 60"], log=log)

    def started() -> list[int]:
        return [int(pid) for pid in pids.read_text().split()] if pids.exists() else []

    with start() as server, revived(server, start, log):
        until(lambda: len(started()) == 1)
        os.kill(started()[-1], signal.SIGKILL)
        until(lambda: len(started()) == 2)
        os.kill(started()[-1], signal.SIGKILL)
        until(lambda: len(started()) == 3)
    assert "started again" in log.read_text()
    assert not any(alive(pid) for pid in started())
