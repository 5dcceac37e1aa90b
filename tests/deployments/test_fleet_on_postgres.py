"""Two hosts, two systems, one submission, on a Prefect server with PostgreSQL, begun by a schedule.

Each run clones the code at the commit that was deployed: only there are the two systems known.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.embedded import Endpoint, embedded_s3
from mlperf_submission.submission.detail_log import read_detail
from mlperf_submission.validation import validate_tree
from tests.conftest import PROGRAM, Rehearsal, clean_environment
from tests.copies import copy_project
from tests.deployments.hosts import commit, postgres, postgres_folder, prefect_file
from tests.prefect_site import prefect_site, until
from tests.small_system import prepared_folder, small_system

pytestmark = [
    pytest.mark.skipif(postgres_folder() is None, reason="PostgreSQL is not installed (Debian: postgresql)"),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]
HOSTS = ("one_rehearsal", "two_rehearsal")
RUNS = ("performance", "accuracy", "TEST01", "TEST04", "TEST05")
CLOCK = "%m-%d-%Y %H:%M:%S.%f"


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Endpoint]:
    with embedded_s3(tmp_path / "s3", tmp_path / "s3.log") as endpoint:
        Bucket("mlperf", "", endpoint_url=endpoint.url, credentials=endpoint.credentials).ensure()
        yield endpoint


def aws(endpoint: Endpoint) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": endpoint.url,
        "AWS_ACCESS_KEY_ID": endpoint.access_key,
        "AWS_SECRET_ACCESS_KEY": endpoint.secret_key,
    }


def host(folder: Path, name: str, prepared: Path) -> dict[str, Any]:
    """A host's own folder, where the network is prepared but nothing measured; return its deployment."""
    work = prepared_folder(folder / name, prepared)
    small_system(folder / "project" / "deployments" / "systems", name)
    return {
        "name": name,
        "entrypoint": "flows/submission.py:submission",
        "parameters": {"system": name, "work": str(work)},
        "work_pool": {"name": "mlperf", "work_queue_name": name},
        "enforce_parameter_schema": True,
    }


def coordinator(folder: Path) -> dict[str, Any]:
    """The fleet's own deployment, on a third host that shares no folder with the two."""
    return {
        "name": "round",
        "entrypoint": "flows/fleet.py:fleet",
        "parameters": {"systems": list(HOSTS), "name": "round", "work": str(folder / "coordinator")},
        "work_pool": {"name": "mlperf", "work_queue_name": "fleet"},
        "enforce_parameter_schema": True,
    }


def measured(folder: Path) -> list[tuple[datetime, datetime]]:
    """Return from when to when LoadGen measured on any host, as its logs say, in order."""
    spans = []
    steps = {run.lower() for run in RUNS}
    logs = folder.glob("*_rehearsal/cache/*/*/mlperf_log_detail.txt")
    for log in (one for one in logs if one.parent.parent.name in steps):
        values = read_detail(log).values
        begin, end = (datetime.strptime(str(values[key]), CLOCK) for key in ("power_begin", "power_end"))
        spans.append((begin, end))
    return sorted(spans)


def test_two_hosts_make_one_submission_when_their_schedule_is_due(
    rehearsal: Rehearsal, s3: Endpoint, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "project")
    deployments = [*(host(tmp_path, name, rehearsal.work) for name in HOSTS), coordinator(tmp_path)]
    code = commit(project)
    with ExitStack() as stack:
        database = stack.enter_context(postgres())
        prefect = stack.enter_context(
            prefect_site(tmp_path / "prefect", PREFECT_SERVER_DATABASE_CONNECTION_URL=database, **aws(s3))
        )
        prefect.pool(queues={**dict.fromkeys(HOSTS, 1), "fleet": None})
        for queue in (*HOSTS, "fleet"):
            stack.enter_context(prefect.worker(queue=queue))
        prefect.deploy_all(prefect_file(tmp_path / "prefect.yaml", project, deployments), COMMIT=code)
        due = prefect.schedule("fleet/round", seconds=5)
        until(lambda: bool(prefect.runs_of("fleet")), "the schedule")
        run = prefect.runs_of("fleet")[0]
        assert run["created_by"]["type"] == "SCHEDULE"
        assert datetime.fromisoformat(run["expected_start_time"]) >= due
        prefect.wait(run["id"], "Completed")
        systems = prefect.runs_of("submission")
        assert {one["work_queue_name"] for one in systems} == set(HOSTS)
        assert {one["deployment_version"] for one in (run, *systems)} == {code}
    spans = measured(tmp_path)
    assert len(spans) == len(HOSTS) * len(RUNS)
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), "two measurements at once"
    fetched = tmp_path / "fetched"
    system = str(project / "deployments" / "systems" / f"{HOSTS[0]}.yaml")
    done = subprocess.run(
        [PROGRAM, "fetch", "round", "--system", system, "--to", fetched],
        env=clean_environment(**aws(s3)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all verified" in done.stdout
    verdict = validate_tree(fetched / "tree", "v4.1", rehearsal=True)
    assert verdict.ok, verdict.errors
    assert {one.system for one in verdict.results} == set(HOSTS)
    members = json.loads((fetched / "page" / "members.json").read_text())["members"]
    assert [member["system"] for member in members] == list(HOSTS)
    page = (fetched / "page" / "index.html").read_text()
    assert all(name in page for name in HOSTS)
