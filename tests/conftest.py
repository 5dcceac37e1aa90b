"""What the tests of several rooms share; above all one rehearsal, made by the README's own command."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import main

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / ".venv" / "bin" / "mlperf-submission"
FIRST = ROOT / "tests" / "flows" / "test_rehearsal.py"
STARTING = {
    "deployments",
    "faults",
    "flows",
    "test_additions",
    "test_credentials",
    "test_disturbed",
    "test_live",
}
"""Files, and folders of them, that start servers and flows."""


@dataclass(frozen=True)
class Rehearsal:
    """A finished rehearsal: its work folder, what it printed, and where the run lies."""

    work: Path
    output: str

    @property
    def run(self) -> str:
        """The name of the newest run."""
        folders = (self.work / "submissions" / "rehearsal").iterdir()
        return max(folders, key=lambda folder: folder.stat().st_mtime).name

    @property
    def place(self) -> Path:
        """The folder with the links to tree, page and verdict."""
        return self.work / "submissions" / "rehearsal" / self.run

    def manifest(self) -> dict[str, object]:
        """The stored run's manifest, as the S3 server keeps it."""
        path = self.work / "s3" / "mlperf" / "rehearsals" / "rehearsal" / self.run / "manifest.json"
        content: dict[str, object] = json.loads(path.read_text())
        return content


def clean_environment(**more: str) -> dict[str, str]:
    """Return a person's environment: the project's programs on the path, no Prefect of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "COLUMNS": "200", "DO_NOT_TRACK": "1", **more}


def shell(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a person would, by default in the project's folder."""
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=3000,
        env=clean_environment(**environment),
        check=False,
    )


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `mlperf-submission` with some words in this process, where Prefect is imported once."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["mlperf-submission", *words])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capsys.readouterr()
        return subprocess.CompletedProcess(words, int(ended.value.code or 0), output, errors)

    return run


def hear_ctrl_c() -> None:
    """Be called in a child before it begins: tests that were started in the background are deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and let no worker wait for the rehearsal that another makes.

    First comes the file that makes it, then those with flows and servers of their own, then those that look
    at the rehearsal, then the many small ones.
    """
    used: defaultdict[Path, set[str]] = defaultdict(set)
    for item in items:
        used[item.path] |= {*getattr(item, "fixturenames", ())}

    def rank(item: pytest.Item) -> int:
        if item.path == FIRST:
            return 0
        if "rehearsal" in used[item.path]:
            return 2
        return 1 if STARTING & {item.path.stem, item.path.parent.name} else 3

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Let the garbage collector look at nothing any more that was imported for the tests."""
    gc.collect()
    gc.freeze()


def common_folder(factory: pytest.TempPathFactory) -> Path:
    """Return a folder of all workers of pytest-xdist."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock of which no other worker has the like."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> tuple[Path, Any]:
    """Make a folder once for all workers of pytest-xdist; return it, and what `make` said of it (JSON)."""
    folder = common_folder(factory) / name
    said = folder.with_suffix(".json")
    with locked(folder.with_suffix(".lock")):
        if not said.exists():
            said.write_text(json.dumps(make(folder)))
    return folder, json.loads(said.read_text())


@contextmanager
def served_once(
    factory: pytest.TempPathFactory, name: str, serve: Callable[[Path], AbstractContextManager[object]]
) -> Iterator[Any]:
    """Have one server for all workers of pytest-xdist; yield what `serve` says of it, as JSON.

    The worker that comes first starts it, and ends it when no other uses it any more.
    """
    said, lock = (common_folder(factory) / f"{name}.{suffix}" for suffix in ("json", "lock"))
    with ExitStack() as server, said.with_suffix(".users").open("w") as users:
        with locked(lock):
            if ours := not said.exists():
                value = server.enter_context(serve(factory.mktemp(name)))
                said.write_text(json.dumps(value, default=vars))
            fcntl.flock(users, fcntl.LOCK_SH)
        yield json.loads(said.read_text())
        if ours:
            with locked(lock):  # whoever comes meanwhile waits, and starts another
                fcntl.flock(users, fcntl.LOCK_EX)
                said.unlink()


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """`make rehearsal`, once; each worker has a copy to work with."""

    def make(folder: Path) -> tuple[int, str, str]:
        done = shell("make", "rehearsal", f"WORK={folder}")
        return done.returncode, done.stdout, done.stderr

    first, (status, output, errors) = made_once(tmp_path_factory, "first-rehearsal", make)
    assert status == 0, output + errors
    work = tmp_path_factory.mktemp("rehearsal") / "work"
    subprocess.run(["cp", "-a", str(first), str(work)], check=True)
    return Rehearsal(work, output)


@pytest.fixture
def rehearsal_file(tmp_path: Path) -> Path:
    """The rehearsal's system file with resnet50 alone, to be changed by a test."""
    content = yaml.safe_load((ROOT / "deployments" / "systems" / "rehearsal.yaml").read_text())
    content["benchmarks"] = {"resnet50": content["benchmarks"]["resnet50"]}
    path = tmp_path / "system.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
