"""Who may publish what, from a shell: the candidates in a real store, the person at a real terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cli.publishing import offer, publish_run
from flows.approval import Candidate, Publication, settle
from flows.submission import SubmissionOutcome
from mlperf_submission.config.system import load_system
from mlperf_submission.errors import SettingError, StoreError
from mlperf_submission.store.embedded import Endpoint, embedded_s3
from mlperf_submission.store.store import RunFile, RunInfo, Store
from mlperf_submission.validation.official import OfficialVerdict
from tasks.check_officially import OFFICIAL, OFFICIAL_FILE, OfficialCheck
from tasks.publish import PARTS
from tasks.workspace import Workspace
from tests.conftest import PROGRAM, ROOT, clean_environment

SYSTEM, BUCKET = "Small", "mlperf"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("s3")
    with embedded_s3(folder / "files", folder / "log") as endpoint:
        yield endpoint


@pytest.fixture
def system_file(
    tmp_path: Path, rehearsal_file: Path, endpoint: Endpoint, request: pytest.FixtureRequest
) -> Path:
    """A system of the full edition whose runs lie in a prefix of their own."""
    content = yaml.safe_load(rehearsal_file.read_text())
    content["benchmarks"]["resnet50"]["Server"]["target_qps"] = 100
    content["description"] = load_system("SR650_V3_3xL40S_TRT").description | {"submitter": "Rehearsal"}
    store = {"bucket": BUCKET, "prefix": request.node.name.partition("[")[0], "endpoint_url": endpoint.url}
    rehearsal_file.write_text(yaml.safe_dump({**content, "name": SYSTEM, "edition": "full", "store": store}))
    return rehearsal_file


@pytest.fixture
def store(endpoint: Endpoint, system_file: Path, tmp_path: Path) -> Store:
    """A store with one candidate, `Small/aaaa`."""
    prefix = yaml.safe_load(system_file.read_text())["store"]["prefix"]
    store = Store(BUCKET, prefix, endpoint_url=endpoint.url, credentials=endpoint.credentials)
    store.ensure_bucket()
    page = tmp_path / "index.html"
    page.write_text("<html>")
    refused = OfficialVerdict(checker="submission_checker.py", ok=False, results={}, errors=("no",))
    official = tmp_path / OFFICIAL_FILE
    official.write_text(OfficialCheck(ours="", official=refused, differences=()).model_dump_json())
    info = RunInfo(
        system=SYSTEM,
        run="aaaa",
        round="v4.1",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        rehearsal=False,
        tool_version="0.1",
        figures={"resnet50/Server": 132008.0},
    )
    files = [RunFile(f"{part}/index.html", page) for part in PARTS]
    store.upload_run(info, [*files, RunFile(f"{OFFICIAL}/{OFFICIAL_FILE}", official)])
    return store


def command(endpoint: Endpoint, system_file: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of `mlperf-submission publish`."""
    work = system_file.parent / "work"
    argv = [str(PROGRAM), "publish", *arguments, "--system", str(system_file), "--work", str(work)]
    keys = {"AWS_ACCESS_KEY_ID": endpoint.access_key, "AWS_SECRET_ACCESS_KEY": endpoint.secret_key}
    return argv, clean_environment(PYTHONPATH=str(ROOT), **keys)


def addresses(store: Store) -> list[str]:
    return [str(stored.address) for stored in store.list_runs()]


def at_a_terminal(argv: list[str], environment: dict[str, str], typed: str) -> str:
    """Run a command whose input and output are a terminal; return what it showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(argv, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        while True:
            try:
                block = os.read(ours, 1 << 16)
            except OSError:  # the terminal is gone with the last who held it
                break
            if not block:
                break
            shown += block
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


def test_a_person_at_a_terminal_sees_the_candidate_and_approves(
    store: Store, endpoint: Endpoint, system_file: Path
) -> None:
    argv, environment = command(endpoint, system_file, SYSTEM)
    shown = at_a_terminal(argv, environment, "refuse\nCharles\ntoo slow\n")
    assert "132,008.00" in shown and "candidates/Small/aaaa" in shown
    assert "not published, refused by Charles: too slow" in shown
    assert addresses(store) == ["candidates/Small/aaaa"]
    shown = at_a_terminal(argv, environment, "approve\nAda\n\n")
    assert "published, approved by Ada" in shown
    assert addresses(store) == ["runs/Small/aaaa", "candidates/Small/aaaa"]


def test_without_a_terminal_nobody_is_asked_and_yes_publishes_exactly_the_run(
    store: Store, endpoint: Endpoint, system_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv, environment = command(
        endpoint, system_file, f"{SYSTEM}/aaaa", "--yes", "--by", "Ada", "--comment", "fine"
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def publish(run: str, yes: bool) -> None:
        console = Console(file=io.StringIO())
        publish_run(console, run, yes, None, "", str(system_file), system_file.parent / "work")

    with pytest.raises(SettingError, match="nobody can be asked") as caught:
        publish(f"{SYSTEM}/aaaa", yes=False)
    assert "--yes" in caught.value.remedy
    with pytest.raises(StoreError, match="there is no complete run"):
        publish(f"{SYSTEM}/bbbb", yes=True)
    with pytest.raises(SettingError, match="a rehearsal, which is never published"):
        publish_run(Console(file=io.StringIO()), "rehearsal", True, None, "", None, system_file.parent)
    assert addresses(store) == ["candidates/Small/aaaa"]
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "published, approved by Ada: fine" in done.stdout
    assert "REFUSED BY THE OFFICIAL CHECKER" in done.stdout
    assert addresses(store) == ["runs/Small/aaaa", "candidates/Small/aaaa"]
    kept = system_file.parent / "work" / "submissions" / SYSTEM / "aaaa" / "approval.json"
    assert json.loads(kept.read_text())["decision"]["comment"] == "fine"


def test_a_candidate_that_is_no_whole_submission_is_not_published(
    store: Store,
    endpoint: Endpoint,
    system_file: Path,
    tmp_path: Path,
) -> None:
    fields = store.manifest(f"{SYSTEM}/aaaa").model_dump(include={*RunInfo.model_fields})
    page = RunFile("page/index.html", tmp_path / "index.html")
    store.upload_run(RunInfo(**fields | {"run": "page"}), [page])
    argv, environment = command(endpoint, system_file, f"{SYSTEM}/page", "--yes", "--by", "Ada")
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 1
    assert "it has no tree and no verdict" in done.stderr
    assert not [address for address in addresses(store) if address.startswith("runs/")]


def test_the_run_command_says_without_a_terminal_how_to_publish_later(tmp_path: Path, store: Store) -> None:
    shown = io.StringIO()
    outcome = SubmissionOutcome(
        system=SYSTEM,
        run="aaaa",
        rehearsal=False,
        backend_notice="",
        results=[],
        verdict="accepted",
        accepted=True,
        warnings=0,
        notes=[],
        tree=tmp_path,
        page=tmp_path,
        s3_address="",
        publication=Publication(status="candidate", address=""),
    )
    console = Console(file=shown, width=200)
    offer(console, Workspace.at(tmp_path), "my/system.yaml", outcome)
    assert "mlperf-submission publish Small/aaaa --system my/system.yaml" in shown.getvalue()
    assert addresses(store) == ["candidates/Small/aaaa"]


def test_a_rehearsal_is_neither_asked_about_nor_published(tmp_path: Path, store: Store) -> None:
    candidate = Candidate(
        system="rehearsal",
        run="aaaa",
        address="s3://mlperf/rehearsals/rehearsal/aaaa",
        rehearsal=True,
        verdict="accepted",
        results=[],
        page=tmp_path / "index.html",
        place=tmp_path,
    )
    publication = settle(candidate, store, "ask")
    assert publication.status == "rehearsal"
    assert "never published" in publication.summary()


def test_a_run_that_nobody_can_be_asked_about_stays_a_candidate(tmp_path: Path, store: Store) -> None:
    candidate = Candidate(
        system=SYSTEM,
        run="aaaa",
        address=f"{store.address}candidates/Small/aaaa",
        rehearsal=False,
        verdict="accepted",
        results=[],
        page=tmp_path / "index.html",
        place=tmp_path,
    )
    assert settle(candidate, store, "ask").status == "candidate"  # outside of a deployment
    assert settle(candidate, store, "never").status == "candidate"
    assert addresses(store) == ["candidates/Small/aaaa"]
