"""What an operator finds on a real server after `prefect deploy --all`: forms with choices and help."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow
from prefect.context import FlowRunContext
from prefect.events.clients import PrefectEventSubscriber, get_events_subscriber
from prefect.events.filters import EventFilter

import tasks.describe
from cli.server import send_what_is_queued
from flows import systems
from flows.approval import Candidate
from flows.outcome import show
from flows.results import HEADINGS, ResultLine
from flows.systems import require_deployments, start_submission, wait_for
from mlperf_submission.config.system import load_system
from mlperf_submission.errors import SettingError, StepFailedError, StoreError, UnreachableError
from mlperf_submission.harness.settings import SUPPORTED_SCENARIOS
from mlperf_submission.process import end_group
from mlperf_submission.store.embedded import embedded_s3
from mlperf_submission.store.s3 import Credentials
from mlperf_submission.store.store import RunFile, RunInfo, Store
from models.registry import benchmark_names
from tasks.describe import describe
from tasks.engine.runner import Live
from tasks.handover import HandedOver, hand_over, handed_over
from tasks.report import PAGE_FILE
from tasks.workspace import Workspace
from tests.conftest import ROOT, Rehearsal
from tests.prefect_site import Site, prefect_site, until
from tests.readme import PREFECT

SYSTEMS = [path.stem for path in (ROOT / "deployments" / "systems").glob("*.yaml")]
MEASURING = {*(f"submission/{name}" for name in SYSTEMS), "regression/weekly", "fleet/round"}
DEPLOYMENTS = {*MEASURING, "retrieve/latest"}
TRIGGER = "regression-after-a-change"
NOBODY = "http://127.0.0.1:9"
STORED = HandedOver(
    system="one", run="abc", round="v4.1", rehearsal=True, address="s3://mlperf/rehearsals/one/abc"
)


SERVER, POOL, WORKER, DEPLOY, RUN = PREFECT


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server as the README starts it, with the pool and the deployments that it makes there."""
    assert SERVER == "prefect server start"
    folder = tmp_path_factory.mktemp("server")
    with prefect_site(folder, PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS="1") as found:
        for line in (POOL, DEPLOY):
            done = found.prefect(*shlex.split(line))
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        yield found
        send_what_is_queued()


def choices(schema: object) -> set[str]:
    """Return every value that a form offers, wherever it stands in the schema."""
    if isinstance(schema, list):
        return set().union(*map(choices, schema))
    if isinstance(schema, dict):
        return set(schema.get("enum", [])).union(*map(choices, schema.values()))
    return set()


def test_one_command_deploys_everything(server: Site) -> None:
    for deployment in DEPLOYMENTS:
        found = server.deployment(deployment)
        assert found["enforce_parameter_schema"]
        assert found["work_pool_name"] == "mlperf"
        for schedule in found["schedules"]:
            assert schedule["schedule"]["timezone"] == "Europe/Berlin"
            assert not schedule["active"], "nothing measures before a person switched it on"
    queues = {name: server.deployment(name)["work_queue_name"] for name in DEPLOYMENTS}
    assert queues["submission/SR650_V3_3xL40S_TRT"] == "SR650_V3_3xL40S_TRT"
    assert queues["fleet/round"] == "fleet", "a fleet that waits in a queue of its systems would block them"


@pytest.mark.parametrize("deployment", sorted(DEPLOYMENTS))
def test_the_form_offers_choices_and_help(server: Site, deployment: str) -> None:
    properties = server.deployment(deployment)["parameter_openapi_schema"]["properties"]
    assert all(one.get("description") for one in properties.values()), "a parameter without help"
    assert "<" not in str(properties), "the page takes it for HTML and leaves it out"
    if deployment not in MEASURING:
        return
    assert choices(properties["models"]) == set(benchmark_names())
    assert choices(properties["scenarios"]) == {scenario.value for scenario in SUPPORTED_SCENARIOS}


@pytest.mark.parametrize(
    ("deployment", "wrong"),
    [
        ("submission/rehearsal", {"models": ["resnet51"]}),
        ("submission/rehearsal", {"scenarios": ["Online"]}),
        ("submission/rehearsal", {"full_length": "perhaps"}),
        ("regression/weekly", {"allowed_drop": 1.5}),
        ("fleet/round", {"systems": []}),
        ("fleet/round", {"name": "a name with blanks"}),
        ("fleet/round", {"round_name": "v9.9"}),
        ("retrieve/latest", {"only": "page"}),
        ("fleet/round", {"store": {"bukket": "x"}}),
    ],
)
def test_the_server_refuses_what_the_form_would_not_offer(
    server: Site, deployment: str, wrong: dict[str, object]
) -> None:
    with pytest.raises(httpx.HTTPStatusError) as caught:
        server.start(deployment, **wrong)
    assert caught.value.response.status_code == 409
    assert next(iter(wrong)) in caught.value.response.text


@pytest.fixture
def client(server: Site) -> Iterator[Site]:
    """The server, as code of ours in this process talks to it."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    home = Path(server.environment["PREFECT_HOME"])
    with temporary_settings({PREFECT_API_URL: server.url, PREFECT_HOME: home}):
        yield server


def test_a_fleet_of_systems_without_deployments_is_refused_at_its_start(client: Site) -> None:
    require_deployments(["rehearsal", "SR650_V3_3xL40S_TRT"])
    with pytest.raises(SettingError, match="submission/nosuch, submission/other") as caught:
        require_deployments(["rehearsal", "nosuch", "other"])
    assert "SR650_V3_3xL40S_TRT, rehearsal" in caught.value.remedy


def test_a_fleet_that_is_resumed_takes_up_its_runs_and_repeats_what_failed(client: Site) -> None:
    first = start_submission("rehearsal", {"scenarios": ["Offline"]}, "fleet-1")
    assert start_submission("rehearsal", {}, "fleet-1") == first
    assert start_submission("rehearsal", {}, "fleet-2") != first
    run = client.api("GET", f"flow_runs/{first.flow_run}")
    assert run["parameters"] == {"system": "rehearsal", "scenarios": ["Offline"]}
    client.set_state(first.flow_run, "COMPLETED")
    assert start_submission("rehearsal", {}, "fleet-1") == first
    again = start_submission("rehearsal", {}, "fleet-3")
    client.set_state(again.flow_run, "CRASHED")
    assert start_submission("rehearsal", {}, "fleet-3") != again


def test_one_system_that_fails_is_named_after_the_others_have_ended(client: Site) -> None:
    names = ("rehearsal", "SR650_V3_3xL40S_TRT")
    started = [start_submission(name, {}, f"waiting-{name}") for name in names]
    client.set_state(started[0].flow_run, "FAILED", "AccuracyError: below the target")
    with pytest.raises(StepFailedError) as caught:
        wait_for(started, seconds=1)
    assert "rehearsal" in caught.value.what
    assert "AccuracyError: below the target" in caught.value.what
    assert f"SR650_V3_3xL40S_TRT (flow run {started[1].name}): has not ended" in caught.value.what
    client.set_state(started[1].flow_run, "COMPLETED")
    with pytest.raises(StepFailedError, match="1 of 2 systems"):
        wait_for(started, seconds=900)
    wait_for(started[1:], seconds=900)


def test_the_end_of_a_run_is_heard_although_the_server_was_away(
    client: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "_ASK_SECONDS", 1e6)
    monkeypatch.setattr(systems, "_AGAIN_SECONDS", 0.0)
    started = start_submission("rehearsal", {}, "heard")
    attempts = []

    def subscriber(events: EventFilter) -> PrefectEventSubscriber:
        attempts.append(events)
        if len(attempts) == 1:
            raise ConnectionRefusedError
        if len(attempts) == 2:
            threading.Timer(2, client.set_state, (started.flow_run, "COMPLETED")).start()
        return get_events_subscriber(events)

    monkeypatch.setattr(systems, "get_events_subscriber", subscriber)
    wait_for([started], seconds=900)
    assert len(attempts) == 2


def test_a_stored_run_is_found_by_the_flow_run_that_stored_it(client: Site) -> None:
    @flow(name="storing")
    def storing(*left: HandedOver) -> UUID:
        for one in left:
            hand_over(one)
        context = FlowRunContext.get()
        assert context
        assert context.flow_run
        return context.flow_run.id

    assert handed_over(storing(STORED)) == STORED
    made_anew = STORED.model_copy(update={"run": "def"})
    assert handed_over(storing(STORED, STORED, made_anew)) == made_anew
    with pytest.raises(StoreError, match="left no record of a stored run"):
        handed_over(storing())


def test_a_run_that_cannot_be_handed_over_fails(client: Site) -> None:
    @flow(name="storing")
    def storing() -> None:
        context = FlowRunContext.get()
        assert context
        assert context.flow_run
        unknown = context.flow_run.model_copy(update={"id": uuid4()})  # the server refuses it
        with context.model_copy(update={"flow_run": unknown}):
            hand_over(STORED)

    with pytest.raises(UnreachableError, match="does not keep where one/abc lies") as caught:
        storing()
    assert STORED.address in caught.value.remedy


def stored_candidate(page: Path, **more: Any) -> Candidate:
    return Candidate(
        system="one",
        run="abc",
        address=STORED.address,
        rehearsal=True,
        verdict="accepted",
        page=page,
        place=page.parent,
        **{"results": [], **more},
    )


def test_the_table_of_results_reads_as_on_the_terminal_with_what_is_to_be_known_below(
    client: Site, tmp_path: Path
) -> None:
    line = ResultLine(
        benchmark="resnet50",
        scenario="Server",
        value=132_008.0,
        units="Queries/s",
        accuracy="acc 75.8",
        p99_ms=44.0352,
        audits="TEST01, 04* passed",
        refused=True,
    )
    notes = ["* would be INVALID as a submission: too slow", "disturbed"]
    candidate = stored_candidate(tmp_path / PAGE_FILE, results=[line], notes=notes)

    @flow(name="showing")
    def showing() -> None:
        show(candidate, Store("mlperf", endpoint_url=NOBODY, credentials=Credentials("key", "secret")), 0)

    showing()
    (found,) = client.api("POST", "artifacts/filter", artifacts={"key": {"any_": ["one-results"]}})
    assert json.loads(found["data"]) == [dict(zip(HEADINGS, line.cells(), strict=True))]
    assert "132,008.00 Queries/s *" in found["data"]
    assert found["description"] == (
        "REHEARSAL, NOT A RESULT\n\naccepted\n\n- \\* would be INVALID as a submission: too slow\n- disturbed"
    )


@pytest.mark.parametrize("hours", [1, 0])
def test_the_page_of_a_stored_run_opens_by_a_link_that_no_log_has(
    client: Site, tmp_path: Path, hours: int, caplog: pytest.LogCaptureFixture
) -> None:
    page = tmp_path / PAGE_FILE
    page.write_text("<html>the page")
    with embedded_s3(tmp_path / "s3", tmp_path / "s3.log") as endpoint:
        store = Store("mlperf", endpoint_url=endpoint.url, credentials=endpoint.credentials)
        store.ensure_bucket()
        created = datetime(2026, 1, 1, tzinfo=UTC)
        made = RunInfo(
            system="one", run="abc", round="v4.1", created=created, rehearsal=True, tool_version="1"
        )
        store.upload_run(made, [RunFile(f"page/{PAGE_FILE}", page)])
        candidate = stored_candidate(page)

        @flow(name="showing")
        def showing() -> UUID:
            show(candidate, store, hours)
            context = FlowRunContext.get()
            assert context
            assert context.flow_run
            return context.flow_run.id

        with caplog.at_level("DEBUG"):
            run = str(showing())
        (artifact,) = client.api(
            "POST",
            "artifacts/filter",
            artifacts={"flow_run_id": {"any_": [run]}, "key": {"any_": ["one-page"]}},
        )
        assert "fetch rehearsals/one/abc --only page" in str(artifact)
        if not hours:
            assert str(page) in artifact["data"]
            assert "http" not in artifact["data"]
            return
        link = re.search(r"\((http[^)]+)\)", artifact["data"])
        assert link
        assert httpx.get(link[1]).text == "<html>the page"
    secret = link[1].rpartition("X-Amz-Signature=")[2]
    assert len(secret) == 64
    assert f"X-Amz-Signature={secret}" not in caplog.text
    assert caplog.text


def test_a_changed_host_starts_the_regression_flow_once_that_is_switched_on(
    client: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trigger,) = client.api("POST", "automations/filter", {"automations": {"name": {"any_": [TRIGGER]}}})
    assert not trigger["enabled"], "nothing measures before a person switched it on"
    client.api("PATCH", f"automations/{trigger['id']}", {"enabled": True})
    run, system = Live(Workspace.at(tmp_path)), load_system("rehearsal")

    @flow(name="describing")
    def describing(*drivers: str) -> None:
        for driver in drivers:
            monkeypatch.setattr(tasks.describe, "host_identity", lambda driver=driver: {"driver": driver})
            run(describe(system))

    describing("570.86", "570.86", "580.65")
    until(lambda: bool(client.scheduled("regression/weekly")), "the regression flow")
    # The server keeps an event a moment after it has acted upon it, and events in their order.
    until(lambda: bool(client.events_of("mlperf.system.rehearsal")), "the event")
    (event,) = client.events_of("mlperf.system.rehearsal")
    assert event["payload"] == {"changed": "host.driver: 570.86 -> 580.65"}


def test_runs_of_a_deployment_come_one_after_the_other(server: Site) -> None:
    """Its queue and the worker would take both at once."""
    both = [server.start("submission/SR650_V3_3xL40S_TRT", system="nosuch") for _ in range(2)]
    with server.worker(queue="SR650_V3_3xL40S_TRT", limit=2):
        runs = sorted((server.wait(run) for run in both), key=lambda run: str(run["start_time"]))
    assert [run["state_type"] for run in runs] == ["FAILED", "FAILED"]
    assert all("unknown system 'nosuch'" in run["state"]["message"] for run in runs)
    leases = Path(server.environment["PREFECT_HOME"], "concurrency_leases")
    assert leases.exists(), "a server that is started again would end what is measured"
    assert runs[0]["end_time"] <= runs[1]["start_time"]


def test_the_readmes_deployment_runs(server: Site, rehearsal: Rehearsal) -> None:
    """Last, when nothing else waits for a worker."""
    for run in server.api("POST", "flow_runs/filter", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}}):
        server.set_state(run["id"], "CANCELLED")
    worker = server.begin("worker", *shlex.split(WORKER)[1:])
    try:
        done = server.prefect(*shlex.split(RUN), "--param", f"work={rehearsal.work}")
    finally:
        end_group(worker)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished successfully" in done.stdout
