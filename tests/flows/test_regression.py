"""What counts as a regression. The flow itself is `submission`, measured again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.regression import compare, earlier_runs
from storage.embedded import embedded_s3
from storage.store import Manifest, RunFile, RunInfo, Store

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


def test_a_result_that_no_earlier_run_has_is_not_judged() -> None:
    (found,) = compare([manifest(100.0)], {"bert-99/Offline": 1.0}, 0.1)
    assert (found.before, found.fell) == (None, False)


def test_earlier_runs_are_those_of_the_system_newest_first(tmp_path: Path) -> None:
    content = tmp_path / "file"
    content.write_text("x")
    with embedded_s3(tmp_path / "s3", tmp_path / "log") as endpoint:
        store = Store("bucket", endpoint_url=endpoint.url, credentials=endpoint.credentials)
        store.ensure_bucket()
        for one in (
            info("first", 1.0),
            info("second", 2.0, hours=1),
            info("other", 3.0, hours=2, system="tin"),
            info("result", 4.0, hours=3, rehearsal=False),
        ):
            store.upload_run(one, [RunFile("page/file", content)])
        assert [run.run for run in earlier_runs(store, "box", rehearsal=True)] == ["second", "first"]
        assert [run.run for run in earlier_runs(store, "box", rehearsal=False)] == ["result"]
