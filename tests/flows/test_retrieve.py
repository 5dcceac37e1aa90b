"""A run brought back by the flow `retrieve`, as a worker would run it, and by `fetch`."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.retrieve import RetrieveRequest
from mlperf_submission.errors import SettingError
from mlperf_submission.store.embedded import embedded_s3
from mlperf_submission.store.store import MadeBy, RunFile, RunInfo, Store
from tests.conftest import Command, clean_environment

CONTENTS = {
    "engines/resnet50/engine.plan": b"engine",
    "engines/retinanet/engine.plan": b"another engine",
    "evidence/resnet50/Offline/performance/mlperf_log_summary.txt": b"summary",
    "page/index.html": b"<html>",
    "records/performance-0.json": b"{}",
    "tree/closed/Us/results/sys/resnet50/Offline/performance/run_1/mlperf_log_summary.txt": b"summary",
}
FLOW = """
import json, sys
from pathlib import Path
from cli.server import prefect_server
home = Path(sys.argv[1])
with prefect_server(home / "prefect", home / "prefect.log"):
    from prefect.client.orchestration import get_client
    from flows.retrieve import retrieve
    arguments = json.loads(sys.argv[2])
    print(retrieve(**arguments).model_dump_json())
    with get_client(sync_client=True) as client:
        print(json.dumps([artifact.description for artifact in client.read_artifacts()]))
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder whose own S3 server holds one rehearsal."""
    folder = tmp_path_factory.mktemp("retrieve")
    files = []
    for path, content in CONTENTS.items():
        (folder / "made" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "made" / path).write_bytes(content)
        made_by = MadeBy(step="performance", label="resnet50 Offline", key="0" * 64)
        files.append(RunFile(path, folder / "made" / path, made_by))
    info = RunInfo(
        system="rehearsal",
        run="one",
        round="v4.1",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        rehearsal=True,
        tool_version="0",
    )
    with embedded_s3(folder / "work" / "s3", folder / "log") as endpoint:
        store = Store("mlperf", endpoint_url=endpoint.url, credentials=endpoint.credentials)
        store.ensure_bucket()
        store.upload_run(info, files)
    return folder / "work"


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_flow_brings_a_run_back_and_says_so_on_prefects_page(work: Path, tmp_path: Path) -> None:
    arguments = {"run": "rehearsal", "to": str(tmp_path / "to"), "work": str(work)}
    done = subprocess.run(
        [sys.executable, "-c", FLOW, str(tmp_path), json.dumps(arguments)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=900,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    retrieved, artifacts = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert files_in(tmp_path / "to") == CONTENTS
    assert retrieved["address"] == "rehearsals/rehearsal/one"
    assert retrieved["files"] == len(CONTENTS)
    assert {"place": "engines/resnet50", "files": 1, "size": 6} in retrieved["parts"]
    assert any("all verified" in (description or "") for description in artifacts)


def test_a_part_is_listed_and_then_fetched(command: Command, work: Path, tmp_path: Path) -> None:
    paths = set(CONTENTS) - {"engines/retinanet/engine.plan"}
    arguments = ["fetch", "rehearsal/one", "--work", str(work), "--to", str(tmp_path / "to")]
    planned = command(*arguments, "--only", "resnet50,page", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert f"{len(paths)} files" in planned.stdout
    assert "evidence/resnet50" in planned.stdout
    assert "retinanet" not in planned.stdout
    assert not (tmp_path / "to").exists()
    fetched = command(*arguments, "--only", "resnet50,page")
    assert fetched.returncode == 0, fetched.stderr
    assert files_in(tmp_path / "to") == {path: CONTENTS[path] for path in paths}


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("rehearsal", "rehearsal/latest"),
        ("rehearsal/x1/", "rehearsal/x1"),
        ("candidates/rehearsal", "candidates/rehearsal/latest"),
        ("rehearsals/rehearsal/x1", "rehearsals/rehearsal/x1"),
        ("s3://mlperf/some/prefix/runs/rehearsal/x1", "s3://mlperf/some/prefix/runs/rehearsal/x1"),
    ],
)
def test_a_run_may_be_named_in_these_ways(run: str, name: str, tmp_path: Path) -> None:
    assert RetrieveRequest.checked(run, tmp_path).run == name


@pytest.mark.parametrize(
    ("run", "only", "message"),
    [
        ("", None, "no name of a run"),
        ("a/b/c", None, "no name of a run"),
        ("../etc", None, "no name of a run"),
        ("s3://bucket/run", None, "no name of a run"),
        ("nosuch/run", None, "no system file 'nosuch'"),
        ("rehearsal", ["page", " "], "empty name"),
    ],
)
def test_what_cannot_be_is_refused_before_any_server_is_asked(
    run: str, only: list[str] | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=message):
        RetrieveRequest.checked(run, tmp_path, only=only)


def test_a_file_is_no_folder_to_fetch_into(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="into a file"):
        RetrieveRequest.checked("rehearsal", tmp_path / "file")
