"""A store that cannot be used is found out before anything is prepared or measured."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from mlperf_submission.store.embedded import Endpoint, embedded_s3
from tests.conftest import PROGRAM, shell


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("s3")
    with embedded_s3(folder / "files", folder / "log") as endpoint:
        yield endpoint


@pytest.fixture
def refused_address() -> Iterator[str]:
    with socket.socket() as holder:  # bound, but nobody listens
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


@pytest.mark.parametrize(
    ("what", "message"),
    [("down", "does not answer"), ("key", "key"), ("bucket", "nowhere-to-be-found")],
)
def test_a_store_that_cannot_be_used_ends_the_run_at_its_start(
    what: str,
    message: str,
    endpoint: Endpoint,
    refused_address: str,
    rehearsal_file: Path,
    tmp_path: Path,
    prefect_home: Callable[[Path], Path],
) -> None:
    prefect_home(tmp_path / "work" / "prefect")
    content = yaml.safe_load(rehearsal_file.read_text())
    content["store"] = {
        "bucket": "nowhere-to-be-found",
        "endpoint_url": refused_address if what == "down" else endpoint.url,
    }
    rehearsal_file.write_text(yaml.safe_dump(content))
    secret = "a-wrong-secret-of-some-length" if what == "key" else endpoint.secret_key
    done = shell(
        str(PROGRAM),
        "run",
        str(rehearsal_file),
        "--work",
        str(tmp_path / "work"),
        AWS_ACCESS_KEY_ID=endpoint.access_key,
        AWS_SECRET_ACCESS_KEY=secret,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "What to do" in done.stderr
    assert secret not in done.stdout + done.stderr
    assert not (tmp_path / "work" / "cache").exists(), "work was done before the store was looked at"
