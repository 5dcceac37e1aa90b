"""What counts as a regression; and the flow, which is `submission` measured again, as a worker runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from flows.regression import compare, stored_runs
from mlperf_submission.store.embedded import Endpoint, embedded_s3
from mlperf_submission.store.store import Manifest, RunFile, RunInfo, Store
from tests.conftest import Rehearsal
from tests.prefect_site import prefect_site
from tests.small_system import prepared_folder, small_system

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def info(run: str, value: float | None, hours: int = 0, **changes: object) -> RunInfo:
    fields: dict[str, object] = {
        "system": "box",
        "run": run,
        "round": "v4.1",
        "created": NOON + timedelta(hours=hours),
        "rehearsal": True,
        "tool_version": "0.1.0",
        "figures": {"resnet50/Offline": value},
    }
    return RunInfo.model_validate({**fields, **changes})


@contextmanager
def a_store(folder: Path, bucket: str) -> Iterator[tuple[Store, Endpoint]]:
    with embedded_s3(folder / "s3", folder / "s3.log") as endpoint:
        store = Store(bucket, endpoint_url=endpoint.url, credentials=endpoint.credentials)
        store.ensure_bucket()
        yield store, endpoint


def upload(store: Store, run: RunInfo, folder: Path) -> None:
    content = folder / "file"
    content.write_text("x")
    store.upload_run(run, [RunFile("page/file", content)])


def manifest(value: float | None) -> Manifest:
    return Manifest(**info("abc", value).model_dump(), files=())


@pytest.mark.parametrize(
    ("before", "now", "change", "fell"),
    [
        ([100.0], 91.0, -0.09, False),
        ([100.0], 89.0, -0.11, True),
        ([100.0], 150.0, 0.5, False),
        ([100.0, 50.0, 104.0], 95.0, -0.05, False),
        ([100.0, 50.0, 104.0], 80.0, -0.2, True),
        ([None, 100.0], 80.0, -0.2, True),
        ([], 80.0, None, False),
        ([0.0], 80.0, None, False),
    ],
)
def test_a_result_falls_if_it_is_well_below_the_median_of_earlier_runs(
    before: list[float | None], now: float, change: float | None, fell: bool
) -> None:
    (found,) = compare([manifest(value) for value in before], {"resnet50/Offline": now}, 0.1)
    assert found.fell is fell
    assert found.change == (None if change is None else pytest.approx(change))


@pytest.mark.parametrize(("now", "fell"), [(90.0, False), (110.0, False), (112.0, True)])
def test_a_latency_falls_if_it_is_well_above_the_earlier_ones(now: float, fell: bool) -> None:
    runs = [manifest(100.0).model_copy(update={"figures": {"resnet50/SingleStream": 100.0}})]
    (found,) = compare(runs, {"resnet50/SingleStream": now}, 0.1)
    assert found.fell is fell


def test_a_result_that_no_earlier_run_has_is_not_judged() -> None:
    (found,) = compare([manifest(100.0)], {"bert-99/Offline": 1.0}, 0.1)
    assert (found.before, found.fell) == (None, False)


def test_earlier_runs_are_those_of_the_system_newest_first(tmp_path: Path) -> None:
    with a_store(tmp_path, "bucket") as (store, _):
        for one in (
            info("first", 1.0),
            info("second", 2.0, hours=1),
            info("other", 3.0, hours=2, system="tin"),
            info("result", 4.0, hours=3, rehearsal=False),
        ):
            upload(store, one, tmp_path)
        found = {rehearsal: stored_runs(store, "box", rehearsal) for rehearsal in (True, False)}
        assert [one.manifest.run for one in found[True]] == ["second", "first"]
        assert [one.manifest.run for one in found[False]] == ["result"]


def test_a_worker_measures_again_and_fails_where_a_result_fell(rehearsal: Rehearsal, tmp_path: Path) -> None:
    name = "small_rehearsal"
    parameters = {
        "system": str(small_system(tmp_path, name)),
        "work": str(prepared_folder(tmp_path / "work", rehearsal.work)),
    }
    with a_store(tmp_path, "mlperf") as (store, s3), prefect_site(tmp_path) as site:
        site.pool("small")
        deployment = site.deploy("flows/regression.py:regression", "regression", "small")
        keys = {
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_ENDPOINT_URL_S3": s3.url,
        }
        with site.worker("small", environment=keys):
            site.wait(site.start(deployment, **parameters), "Completed")  # the first: nothing to fall below
            upload(store, info("faster", 1e9, system=name), tmp_path)
            upload(store, info("fastest", 1e9, hours=1, system=name), tmp_path)
            fallen = site.wait(site.start(deployment, **parameters), "Failed")
        rows = json.loads(site.api("GET", "artifacts/small-rehearsal-trend/latest")["data"])
        shown = site.api("GET", "artifacts/small-rehearsal-trend-page/latest")["data"]
        page = httpx.get(shown.partition("(")[2].removesuffix(")"))
    message = fallen["state"]["message"]
    assert "1 of 1 results fell by more than 10%: resnet50/Offline from 1e+09 to" in message
    measured = tmp_path / "work" / "submissions" / name
    assert len(list(measured.iterdir())) == 2, "what was measured again is not the same run"
    values = [row["resnet50/Offline, Samples/s"] for row in rows]
    assert values[2:] == [1e9, 1e9], "the table over time: ours, the first, and those that were put there"
    assert [row["GPU kWh"] for row in rows] == ["no GPU", "no GPU", "not recorded", "not recorded"]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert all(row["run"] in page.text for row in rows) and 'class="below">fell' in page.text
    assert (tmp_path / "work" / "trends" / f"{name}.html").read_text() == page.text
