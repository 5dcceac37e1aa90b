"""Which runs of a store may be packed, and the receipt that they leave there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml
from rich.console import Console

from cli.packing import pack
from mlperf_submission.config.system import load_system
from mlperf_submission.errors import TreeError
from mlperf_submission.files import files_below
from mlperf_submission.store.embedded import Endpoint, embedded_s3
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.stored_runs import MADE_BY, info
from tests.mlperf_submission.validation.sample_later import build_later


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("s3")
    with embedded_s3(folder / "files", folder / "log") as endpoint:
        yield endpoint


def test_only_a_published_run_is_packed_and_its_store_keeps_the_receipt(
    endpoint: Endpoint, rehearsal_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = build_later(tmp_path / "tree", "v6.0", "tin").root
    store = Store("packing", endpoint_url=endpoint.url, credentials=endpoint.credentials)
    store.ensure_bucket()
    files = [
        RunFile(f"tree/{path.relative_to(tree).as_posix()}", path, MADE_BY) for path in files_below(tree)
    ]
    store.upload_run(info("tried", rehearsal=True), files)
    store.upload_run(info("measured"), files)
    content = yaml.safe_load(rehearsal_file.read_text())
    content["store"] = {"bucket": "packing", "endpoint_url": endpoint.url}
    rehearsal_file.write_text(yaml.safe_dump(content))
    assert load_system(str(rehearsal_file)).store.bucket == "packing"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.credentials.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.credentials.secret_key)
    output = io.StringIO()

    def packed(name: str) -> None:
        pack(Console(file=output, width=200), [name], tmp_path / "out", None, str(rehearsal_file), tmp_path)

    with pytest.raises(TreeError, match="a rehearsal is never handed in"):
        packed("sys/tried")
    with pytest.raises(TreeError, match="nobody has approved this run yet") as caught:
        packed("sys/measured")
    assert "mlperf-submission publish sys/measured" in caught.value.remedy
    assert list((tmp_path / "out").iterdir()) == []
    store.publish("sys", "measured")
    packed("sys/measured")
    receipt = (tmp_path / "out" / "Acme-v6.0.tar.gz.json").read_text()
    sha256 = yaml.safe_load(receipt)["sha256"]
    assert sha256 in output.getvalue()
    assert yaml.safe_load(receipt)["runs"] == ["s3://packing/runs/sys/measured"]
    client = boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        aws_access_key_id=endpoint.credentials.access_key,
        aws_secret_access_key=endpoint.credentials.secret_key,
        region_name="us-east-1",
    )
    kept = client.get_object(Bucket="packing", Key=f"receipts/Acme/v6.0/{sha256}.json")["Body"].read()
    assert kept.decode() == receipt
