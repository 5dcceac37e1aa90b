"""What a person has in environment and addresses is not shown, and does not reach a server of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlperf_submission.config.system import StoreLocation
from mlperf_submission.errors import PipelineError, SettingError, StoreError, UnreachableError
from mlperf_submission.store.s3 import Credentials, make_client, s3_errors
from mlperf_submission.store.store import Store
from tasks.upload import store_at
from tasks.workspace import Workspace
from tests.mlperf_submission.store.stored_runs import info

FOREIGN = {
    "AWS_PROFILE": "nosuch",
    "AWS_DEFAULT_PROFILE": "nosuch",
    "AWS_CONFIG_FILE": "{folder}/config",
    "AWS_SHARED_CREDENTIALS_FILE": "{folder}/config",
    "AWS_CA_BUNDLE": "/nosuch",
    "AWS_DEFAULT_REGION": "nowhere-1",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_MAX_ATTEMPTS": "nonsense",
    "AWS_RETRY_MODE": "nonsense",
    "AWS_SIGV4A_SIGNING_REGION_SET": "*",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "nonsense",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": "nonsense",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}


def test_nothing_that_a_person_has_for_aws_reaches_our_own_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value.format(folder=tmp_path))
    (tmp_path / "config").write_text("this is no configuration [")
    with store_at(Workspace.at(tmp_path / "work"), StoreLocation(), own=True) as store:
        assert store.list_runs() == []
        store.upload_run(info(rehearsal=True), [])
        assert len(store.list_runs()) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("lower", [False, True])
def test_a_dead_proxy_in_front_of_a_store_is_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, lower: bool
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    name = f"{scheme}_proxy"
    monkeypatch.setenv(name if lower else name.upper(), "http://me:TOPSECRET@127.0.0.1:9")
    client = make_client(f"{scheme}://s3.invalid", Credentials("key", "secret"), attempts=1)
    with pytest.raises(UnreachableError, match="the proxy does not answer") as caught, s3_errors("store"):
        client.list_buckets()
    assert "HTTPS_PROXY" in caught.value.remedy
    assert "TOPSECRET" not in str(caught.value)


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nosuch")
    with pytest.raises(StoreError, match="nosuch"):
        Store("bucket", endpoint_url="http://127.0.0.1:9")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://user:hunter2@127.0.0.1:9",
        "http://user:hunter2@127.0.0.1:9/?token=hunter2",
        "https://user:hunter2@127.0.0.1:9",
        "user:hunter2@127.0.0.1:9",
        "http://user:hunter2@",
        "http://user:hunter2@127.0.0.1:port",
        "ftp://user:hunter2@host",
        "http://user:hun/hunter2@127.0.0.1:9",
    ],
)
def test_a_password_in_an_endpoint_is_in_no_error_nor_its_causes(endpoint: str) -> None:
    with pytest.raises(PipelineError) as caught:
        Store("bucket", endpoint_url=endpoint, credentials=Credentials("key", "secret-value")).list_runs()
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        assert "secret-value" not in str(error)
        error = error.__cause__


def test_a_password_in_the_address_of_a_run_is_not_shown(store: Store) -> None:
    with pytest.raises((StoreError, SettingError)) as caught:
        store.find("s3://user:hunter2@bucket/runs/sys/one")
    assert "hunter2" not in str(caught.value)
