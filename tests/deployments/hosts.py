"""What the tests of deployments have beside Prefect: PostgreSQL, and code at a commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cli.server import free_port
from mlperf_submission.process import end_group
from tests.prefect_site import until


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


def commit(project: Path) -> str:
    """Make a folder a git repository with all of it in one commit; return the commit's hash."""

    def git(*words: str) -> str:
        whose = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        done = subprocess.run(
            ["git", "-C", project, *whose, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "all of it")
    return git("rev-parse", "HEAD")


def prefect_file(path: Path, project: Path, deployments: Sequence[Mapping[str, Any]]) -> Path:
    """Write a file that `prefect deploy` takes, as docs/operate.md has it for code by commit."""
    clone = {"repository": project.as_uri(), "commit_sha": "{{ $COMMIT }}"}
    content = {
        "name": "test",
        "pull": [{"prefect.deployments.steps.git_clone": clone}],
        "deployments": [{**one, "version": "{{ $COMMIT }}"} for one in deployments],
    }
    path.write_text(yaml.safe_dump(content))
    return path
