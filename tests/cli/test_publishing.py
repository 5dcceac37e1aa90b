"""What `publish` shows of a candidate, and which candidates it refuses."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cli.publishing import publish_run
from mlperf_submission.config.system import SYSTEMS_FOLDER
from mlperf_submission.errors import StoreError
from mlperf_submission.store.embedded import embedded_s3
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.stored_runs import MADE_BY, info

SYSTEM = "SR650_V3_3xL40S_TRT"


def test_a_candidate_with_any_figures_is_shown_and_one_without_a_part_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = yaml.safe_load((SYSTEMS_FOLDER / f"{SYSTEM}.yaml").read_text())
    file, output = tmp_path / "file", io.StringIO()
    file.write_text("x")
    figures = {"resnet50/Offline": 130_000.5, "bert-99/Server": True, "new/Offline": "[bold]", "old": 10**400}
    with embedded_s3(tmp_path / "s3", tmp_path / "log") as endpoint:
        content["store"] = {"bucket": "publishing", "endpoint_url": endpoint.url}
        (tmp_path / "system.yaml").write_text(yaml.safe_dump(content))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.credentials.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.credentials.secret_key)
        store = Store("publishing", endpoint_url=endpoint.url, credentials=endpoint.credentials)
        store.ensure_bucket()
        parts = [RunFile(f"{part}/x", file, MADE_BY) for part in ("page", "verdict")]
        store.upload_run(info("one", system=SYSTEM, figures=figures), parts)
        system, work = str(tmp_path / "system.yaml"), tmp_path / "work"
        with pytest.raises(StoreError, match="no whole submission: it has no tree"):
            publish_run(Console(file=output, width=200), SYSTEM, True, "me", "", system, work)
    assert all(text in output.getvalue() for text in ("130,000.50", "True", "[bold]", "inf"))
