"""Keep the run in S3: every file under its content's hash, the manifest last."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from pydantic import BaseModel, ConfigDict

from mlperf_submission.config.system import StoreLocation, System
from mlperf_submission.files import disk_full_named
from mlperf_submission.harness.interference import gpu_joules
from mlperf_submission.steps.cache import StepRecord
from mlperf_submission.steps.records import record_file
from mlperf_submission.store.embedded import embedded_s3
from mlperf_submission.store.store import Encryption, GpuUse, MadeBy, RunFile, RunInfo, Store
from mlperf_submission.submission.files import ACCURACY_LOG
from tasks.credentials import StoreAccess, access_from_block, names_a_server
from tasks.engine.perform import Recorder
from tasks.engine.spec import Act, Done, StepSpec
from tasks.measurement import child_report
from tasks.package import PROJECT, Measured
from tasks.random_network import require_trained
from tasks.report import PAGE_FILE
from tasks.validate import read_verdict, require_accepted
from tasks.workspace import Workspace

STORE_RETRIES = 7
"""How often a step is tried again that S3 did not answer: about two minutes in all."""
CHECK_STORE = StepSpec("check_store", "deliver", retries=3, quiet=True)
UPLOAD = StepSpec("upload", "deliver", ("report",), 2.5, 600.0, retries=STORE_RETRIES, asset="run")
_NAMED_AT_MOST = 10
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class Stored(BaseModel):
    """A run that is in the store.

    Attributes:
        address: `s3://…` of the run: among the candidates, or of a rehearsal.
        files: how many it has.
        sent_objects, sent_bytes: what was uploaded this time.
    """

    model_config = ConfigDict(frozen=True)
    address: str
    files: int
    sent_objects: int
    sent_bytes: int


def store_for(workspace: Workspace, system: System) -> AbstractContextManager[Store]:
    """Return the store that a system file names; for a rehearsal without an endpoint a server of our own."""
    return store_at(workspace, system.store, own=system.is_rehearsal)


@contextmanager
def store_at(workspace: Workspace, location: StoreLocation, *, own: bool) -> Iterator[Store]:
    """Yield the store at a location; without any endpoint, if `own`, one that is started and ended here.

    Credentials come from the Prefect block that the file names, else from the standard AWS chain; those of a
    server of our own are made for it alone. A block of prefect-aws may name the endpoint and region that the
    file leaves out.

    Raises:
        SettingError: the block is missing, or does not hold a key.
    """
    block = location.credentials_block
    environment = next(filter(None, map(os.environ.get, _ENDPOINT_VARIABLES)), None)
    configured = location.endpoint_url or environment
    if configured or not own or (block and names_a_server(block)):
        access = access_from_block(location) if block else StoreAccess(None)
        yield Store(
            location.bucket,
            location.prefix,
            endpoint_url=location.endpoint_url or access.endpoint_url or environment,
            credentials=access.credentials,
            region=location.region or access.region,
            encryption=Encryption(location.encryption, location.kms_key_id),
        )
        return
    with embedded_s3(workspace.s3, workspace.logs / "s3.log") as endpoint:
        store = Store(
            location.bucket,
            location.prefix,
            endpoint_url=endpoint.url,
            credentials=endpoint.credentials,
            isolated=True,
        )
        store.ensure_bucket()
        yield store


def check_store(label: str, store: Store) -> Act[str]:
    """Hand on the store's address if it can be written, before hours are spent on what is to go there.

    Raises:
        UnreachableError: the endpoint is down (tried again by Prefect).
        StoreError: the key is refused, may not write, the bucket is missing, or it is not encrypted as asked.
    """

    def do(_recorder: Recorder) -> Done[str]:
        store.require_writable()
        return Done(store.address, store.address)

    return Act(CHECK_STORE, label, do)


def upload(
    label: str,
    system: System,
    run: str,
    delivered: Mapping[str, StepRecord],
    results: Sequence[Measured],
    prepared: Sequence[StepRecord],
    store: Store,
    lacks: Sequence[str],
) -> Act[Stored]:
    """Upload tree, page, verdict, engines, evidence and records; of a run that is there, what is damaged.

    A submission goes to the candidates: publishing it is a step of its own (`tasks.publish`).

    Args:
        label: the system's name.
        system: its file.
        run: the run's name.
        delivered: `tree`, `page` and `verdict`.
        results: what was measured.
        prepared: the steps of the preparation.
        store: where it goes.
        lacks: the results that are known to be missing.

    Raises:
        UnreachableError: the endpoint is down or slow (tried again by Prefect).
        StoreError: the key is refused, the bucket is missing, or the run is there with other content.
        TreeError: the tree is refused for more than what it lacks, or something was made from random weights.
    """

    def do(recorder: Recorder) -> Done[Stored]:
        require_trained([*prepared, *(record for one in results for record in one.records)])
        page, verdict = delivered["page"].file(PAGE_FILE), read_verdict(delivered["verdict"])
        require_accepted(verdict, page, lacks={name.partition("/")[0] for name in lacks})
        tree = delivered["tree"]
        info = RunInfo(
            system=system.name,
            run=run,
            round=system.round,
            created=tree.created,
            rehearsal=system.is_rehearsal,
            tool_version=version(PROJECT),
            lacks=tuple(lacks),
            gpus=gpu_use([run for one in results if one.backend == "tensorrt" for run in one.runs.values()]),
            figures={f"{one.benchmark}/{one.scenario}": one.performance.figures["value"] for one in results},
        )
        # A clock that was ahead when the tree was made retains nothing for longer.
        retain_until = min(tree.created, datetime.now(UTC)) + timedelta(days=system.store.retain_days)
        files = run_files(recorder.workspace, {**placed(results), **delivered}, prepared, retain_until)
        return send_run(recorder, info, files, system.limits.upload, store)

    return Act(UPLOAD, label, do)


def gpu_use(runs: Sequence[StepRecord]) -> GpuUse:
    """Return what finished runs on GPUs took of them, when each was measured."""
    reports = [child_report(run) for run in runs]
    hours = sum(len(one.before.gpus) * (one.after.at - one.before.at) / 3600 for one in reports)
    joules = [gpu_joules(one.before, one.after) for one in reports]
    known = [one for one in joules if one is not None]
    return GpuUse(hours=hours, kwh=sum(known) / 3.6e6 if known and len(known) == len(joules) else None)


def send_run(
    recorder: Recorder, info: RunInfo, files: Sequence[RunFile], limit_seconds: float, store: Store
) -> Done[Stored]:
    """Upload a run, and tell how far it is."""
    with disk_full_named(recorder.workspace.root):  # an S3 server of our own writes there, and cannot say so
        done = store.upload_run(
            info,
            files,
            deadline=time.monotonic() + limit_seconds,
            on_progress=lambda sent, total: recorder(sent / max(total, 1)),
        )
    sent = (
        f"{done.sent_objects} objects sent ({done.sent_bytes / 1e6:.1f} MB), {done.reused_objects} were there"
    )
    if done.mended:
        more = f" and {len(done.mended) - _NAMED_AT_MOST} more" if len(done.mended) > _NAMED_AT_MOST else ""
        sent += f"; mended in the store: {', '.join(done.mended[:_NAMED_AT_MOST])}{more}"
    stored = Stored(
        address=done.address.removesuffix("/manifest.json"),
        files=len(files),
        sent_objects=done.sent_objects,
        sent_bytes=done.sent_bytes,
    )
    return Done(stored, sent, found=not (done.sent_objects or done.mended))


def placed(results: Sequence[Measured]) -> dict[str, StepRecord]:
    """Return the folders of a run beside `tree`, `page` and `verdict`, each with the step that made it.

    `engines/` and `networks/` hold what ran, `evidence/` the complete logs of every run, kept for the review.
    """
    places: dict[str, StepRecord] = {}
    for one in results:
        places |= {f"engines/{one.benchmark}": one.engine, f"networks/{one.benchmark}": one.quantized}
        if one.search:
            places[f"evidence/{one.benchmark}/{one.scenario}/search"] = one.search
        places |= {f"evidence/{one.benchmark}/{one.scenario}/{name}": run for name, run in one.runs.items()}
    return places


def run_files(
    workspace: Workspace,
    places: Mapping[str, StepRecord],
    prepared: Sequence[StepRecord],
    retain_until: datetime | None = None,
) -> list[RunFile]:
    """Return every file of a run with its path in it; `records/` holds what went into each step but the page.

    The tree has accuracy logs that are cut short: the full ones in `evidence/` get their retention date. The
    page is not among what a run's name is made of, because it has the name on it: a page that is made again
    has the same content, but its record has another time.
    """
    files = {}
    for place, record in places.items():
        for entry in record.files:
            path = f"{place}/{entry.path}"
            is_full_log = place.startswith("evidence/") and entry.path.endswith(ACCURACY_LOG)
            retained = retain_until if is_full_log else None
            files[path] = RunFile(path, record.folder / entry.path, _maker(record), retained)
    recorded = [*prepared, *(record for place, record in places.items() if place != "page")]
    for record in {record.key: record for record in recorded}.values():
        path = f"records/{record.step}-{record.key[:12]}.json"
        own = record_file(workspace.cache.root, record.step, record.key)
        files[path] = RunFile(path, own, _maker(record))
    return list(files.values())


def _maker(record: StepRecord) -> MadeBy:
    return MadeBy(step=record.step, label=record.label, key=record.key)
