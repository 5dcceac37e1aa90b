"""What an operator relies on, on a real server with a worker: authentication, approval, notification.

There is no full edition here to make a real submission of. So a small flow on the worker calls what the
submission flow calls (`settle`, `ended`, the failure hook), with small runs in a real store, one of the real
LoadGen, and a person who answers through the API as Prefect's page does.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlperf_submission.harness.lock import holders
from mlperf_submission.harness.record import NullTiming, RunRequest
from mlperf_submission.harness.settings import RunLength, settings_for
from mlperf_submission.rounds import RunKind, Scenario, get_round
from mlperf_submission.store.embedded import embedded_s3
from mlperf_submission.store.store import RunFile, RunInfo, Store
from mlperf_submission.validation import validate_tree
from tasks.publish import PARTS
from tests.conftest import ROOT
from tests.deployments.hosts import postgres, postgres_folder
from tests.mlperf_submission.validation.sample_submission import build
from tests.prefect_site import SECRET, Site, Webhook, prefect_site, until, webhook

FLOWS = "tests/deployments/small_flows.py"
POOL, BUCKET = "small", "mlperf"
FIRST = "SR650_V3_3xL40S_TRT"


@dataclass(frozen=True)
class Operated:
    """A server, a worker, a store and a webhook; the deployments by their flow."""

    site: Site
    store: Store
    hook: Webhook
    deployments: dict[str, str]
    folder: Path

    def upload(self, system: str, run: str, day: int = 1, *, rehearsal: bool = False) -> None:
        """Put a small run into the store."""
        page = self.folder / "index.html"
        page.write_text(f"<html>{run}")
        info = RunInfo(
            system=system,
            run=run,
            round="v4.1",
            created=datetime(2026, 1, day, tzinfo=UTC),
            rehearsal=rehearsal,
            tool_version="0.1",
        )
        files = [RunFile(f"{part}/index.html", page) for part in PARTS]
        self.store.upload_run(info, files)

    def ask(self, system: str) -> str:
        """Start a run of the flow that asks for approval of the newest candidate."""
        place = self.folder / system
        return self.site.start(self.deployments["approval"], system=system, bucket=BUCKET, place=str(place))

    def published(self) -> list[str]:
        return [str(stored.address) for stored in self.store.list_runs() if stored.address.area == "runs"]


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    folder = tmp_path_factory.mktemp("operated")
    with ExitStack() as stack:
        settings = {}
        if postgres_folder() is not None:
            settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = stack.enter_context(postgres())
        s3 = stack.enter_context(embedded_s3(folder / "s3", folder / "s3.log"))
        hook = stack.enter_context(webhook())
        site = stack.enter_context(prefect_site(folder, SECRET, **settings))
        applied = site.prefect("python", "-m", "cli.notifications", MLPERF_WEBHOOK_URL=hook.url)
        assert applied.returncode == 0, applied.stderr
        site.pool(POOL)
        flows = ("approval", "measurement")
        deployments = {name: site.deploy(f"{FLOWS}:{name}", name, POOL) for name in flows}
        deployments["submission"] = site.deploy("flows/submission.py:submission", "submission", POOL)
        store = Store(BUCKET, endpoint_url=s3.url, credentials=s3.credentials)
        store.ensure_bucket()
        keys = {
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_ENDPOINT_URL_S3": s3.url,
        }
        stack.enter_context(site.worker(POOL, environment=keys))
        yield Operated(site, store, hook, deployments, folder)


def test_the_server_answers_only_those_who_know_the_password(operated: Operated) -> None:
    address = f"{operated.site.url}/flow_runs/count"
    assert httpx.post(address, json={}).status_code == 401
    assert httpx.post(address, json={}, auth=("admin", "wrong")).status_code == 401
    assert isinstance(operated.site.api("POST", "flow_runs/count"), int)
    refused = operated.site.prefect("prefect", "work-pool", "ls", PREFECT_API_AUTH_STRING="")
    assert refused.returncode != 0


def test_an_approval_holds_for_exactly_the_run_that_was_shown(operated: Operated) -> None:
    site = operated.site
    operated.upload(FIRST, "aaaa", day=1)
    run = operated.ask(FIRST)
    site.wait(run, "Suspended")
    text = operated.hook.wait_for(f"{FIRST}: waits for approval", f"{FIRST}/aaaa")
    assert "132,008.00 Queries/s" in text and "--only page" in text
    wrong = site.resume(run, decision="perhaps", name="Ada")
    assert wrong["status"] == "REJECT"
    assert site.resume(run, decision="approve")["status"] == "REJECT"  # without a name
    assert site.resume(run, decision="approve", name=" ")["status"] == "REJECT"
    operated.upload(FIRST, "bbbb", day=2)  # while the person looks at aaaa, the run is made anew
    assert site.resume(run, decision="approve", name="Ada")["status"] == "ACCEPT"
    operated.hook.wait_for(f"{FIRST}: waits for approval", f"{FIRST}/bbbb")
    site.wait(run, "Suspended")
    assert operated.published() == []
    site.resume(run, decision="approve", name="Ada Lovelace", comment="as expected")
    done = site.wait(run, "Completed")
    assert done["state"]["message"] == "published, approved by Ada Lovelace: as expected"
    assert operated.published() == [f"runs/{FIRST}/bbbb"]
    assert operated.store.find(f"runs/{FIRST}/latest").manifest.run == "bbbb"
    starts = (operated.folder / FIRST / "started.txt").read_text().splitlines()
    assert len(starts) == 3 and len(set(starts)) == 1, (
        "what was measured before it suspended would be forgotten"
    )
    kept = json.loads((operated.folder / FIRST / "approval.json").read_text())
    assert kept["decision"]["name"] == "Ada Lovelace"
    operated.hook.wait_for(f"{FIRST}: done", f"runs/{FIRST}/bbbb")


@pytest.mark.skipif(
    postgres_folder() is None,
    reason="a fleet's flows at once want PostgreSQL (Debian: postgresql), not SQLite",
)
def test_a_fleet_asks_once_for_itself_and_its_systems_and_a_refusal_publishes_nothing(
    operated: Operated,
) -> None:
    site, systems = operated.site, ("box", "tin")
    for system in systems:
        tree = build(operated.folder / "trees" / system, system).root
        given = {"system": system, "tree": str(tree), "bucket": BUCKET}
        site.deploy(f"{FLOWS}:stored", "submission", POOL, system, **given)
    fleet = site.deploy(
        "flows/fleet.py:fleet",
        "fleet",
        POOL,
        systems=list(systems),
        store={"bucket": BUCKET},
        work=str(operated.folder / "coordinator"),
    )
    refused = site.start(fleet)
    site.wait(refused, "Suspended")
    site.resume(refused, decision="refuse", name="Charles", comment="the fan was off")
    ended = site.wait(refused, "Refused")
    assert ended["state_type"] == "COMPLETED"
    assert ended["state"]["message"] == "not published, refused by Charles: the fan was off"
    operated.hook.wait_for("fleet: refused, not published", "the fan was off")
    assert not {"fleet", *systems} & {address.split("/")[1] for address in operated.published()}
    for system in ("fleet", *systems):
        assert operated.store.find(f"candidates/{system}/latest")
    approved = site.start(fleet)
    site.wait(approved, "Suspended")
    text = operated.hook.wait_for("fleet: waits for approval")
    assert all(f"{system}: resnet50" in text and f"candidates/{system}/abc" in text for system in systems)
    site.resume(approved, decision="approve", name="Ada")
    site.wait(approved, "Completed")
    assert {"runs/box/abc", "runs/tin/abc"} <= set(operated.published())
    (merged,) = (address for address in operated.published() if address.startswith("runs/fleet/"))
    fetched = operated.folder / "fetched"
    operated.store.fetch_run(merged, fetched)
    verdict = validate_tree(fetched / "tree", "v4.1")
    assert verdict.ok, verdict.errors
    assert {one.system for one in verdict.results} == set(systems)
    started = site.api("POST", "flow_runs/filter", flows={"name": {"any_": ["submission"]}})
    assert sorted(run["parameters"]["system"] for run in started if "tree" in run["parameters"]) == [
        "box", "box", "tin", "tin",
    ], "a fleet that is resumed takes up its runs"  # fmt: skip


def slow(seconds: float, lock: Path) -> dict[str, Any]:
    """Return the request of a Server run whose batches take 100 ms; the limit is 15 ms."""
    settings = settings_for(
        get_round("v4.1"),
        "resnet50",
        RunKind.PERFORMANCE,
        Scenario.SERVER,
        target_qps=2000,
        performance_sample_count=None,
        length=RunLength(seconds=seconds),
    ).model_copy(update={"official": True})
    request = RunRequest(
        settings=settings,
        benchmark="resnet50",
        backend="null",
        batch_size=512,
        lock=lock,
        null=NullTiming(batch_seconds=0.1),
    )
    return request.model_dump(mode="json")


def test_an_invalid_run_and_another_failure_are_told_apart(operated: Operated) -> None:
    invalid = operated.site.start(
        operated.deployments["measurement"],
        request=slow(0.3, operated.folder / "host.lock"),
        folder=str(operated.folder / "run"),
    )
    unknown = operated.site.start(operated.deployments["submission"], system="nosuch")
    for run in (invalid, unknown):
        operated.site.wait(run, "Failed")
    text = operated.hook.wait_for("a run is INVALID")
    assert "What to do" in text
    text = operated.hook.wait_for("nosuch: failed")
    assert "unknown system 'nosuch'" in text
    assert not any("nosuch: a run is INVALID" in text for text in operated.hook.texts)


def run_elsewhere(site: Site, parent: str, pool: str) -> str:
    """Start a run of a deployment in another pool from a flow run, as a fleet does; return its id."""
    site.api("POST", "work_pools/", name=pool, type="process")
    deployment = site.deploy(f"{FLOWS}:measurement", "measurement", pool, deployment_name=pool)
    asking = site.api("POST", "task_runs/filter", flow_runs={"id": {"any_": [parent]}})[0]["id"]
    asks = {"parent_task_run_id": asking, "state": {"type": "SCHEDULED"}}
    run = str(site.api("POST", f"deployments/{deployment}/create_flow_run", asks)["id"])
    site.set_state(run, "RUNNING")
    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_ends_in_a_measurement_leaves_its_run_crashed_and_its_host_free(
    operated: Operated, number: signal.Signals
) -> None:
    site, pool, lock = operated.site, number.name.lower(), operated.folder / f"{number.name}.lock"
    folder = operated.folder / number.name
    site.api("POST", "work_pools/", name=pool, type="process")
    deployment = site.deploy(f"{FLOWS}:measurement", "measurement", pool, deployment_name=pool)
    run = site.start(deployment, request=slow(900, lock), folder=str(folder))
    with site.worker(pool) as worker:
        until(lambda: bool(holders(lock)), "the measurement")
        elsewhere = run_elsewhere(site, run, f"{pool}-elsewhere")
        worker.send_signal(number)
        worker.wait()
        found = site.wait(run, "Crashed")
    assert "was stopped, and this run with it" in found["state"]["message"]
    below = site.api("POST", "flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [run]}})
    states = {one["id"]: one["state_name"] for one in below}
    assert states.pop(elsewhere) == "Running", "what another worker does goes on, as the systems of a fleet"
    assert [*states.values()] == ["Crashed"]
    tasks = site.api("POST", "task_runs/filter", flow_runs={"id": {"any_": [*states]}})
    assert [one["state_name"] for one in tasks] == ["Crashed"]
    assert not holders(lock)


def test_the_webhook_is_kept_secret(operated: Operated) -> None:
    documents = operated.site.api("POST", "block_documents/filter", include_secrets=False)
    assert "custom-webhook" in str(documents)
    assert "/hook/secret" not in str(documents)
    assert "/hook/secret" not in (operated.folder / "server.log").read_text()
    applied = operated.site.prefect("python", "-m", "cli.notifications")
    assert applied.returncode == 0 and "mlperf-invalid" in applied.stdout
    automations = operated.site.api("POST", "automations/filter")
    names = [automation["name"] for automation in automations]
    assert sorted(names) == sorted(set(names)), "applied twice, there are two of one"
    assert (ROOT / "deployments" / "automations.yaml").read_text().count("- name:") == len(names)
