"""S3 keys out of a Prefect block, with a real Prefect server and a real S3 server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from mlperf_submission.store.embedded import embedded_s3
from tests.conftest import ROOT, clean_environment

SCRIPT = """
import json, logging, os, sys
from pathlib import Path
from cli.server import prefect_server
home, system_file = Path(sys.argv[1]), sys.argv[2]
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
with prefect_server(home / "prefect", home / "prefect.log"):
    from prefect import flow
    from prefect.blocks.system import Secret
    from mlperf_submission.errors import SettingError
    from mlperf_submission.config.system import load_system
    from tasks.engine.runner import Live
    from tasks.upload import check_store, store_for
    from tasks.workspace import Workspace

    @flow
    def look() -> str:
        try:
            workspace = Workspace.at(home)
            with store_for(workspace, load_system(system_file)) as store:
                store.ensure_bucket()
                return Live(workspace)(check_store("small", store))
        except SettingError as error:
            return error.what

    print(look())
    Secret(value={"aws_access_key_id": "AKIA", "password": os.environ["SECRET"]}).save("s3-key")
    print(look())
    key = {"aws_access_key_id": os.environ["KEY"], "aws_secret_access_key": os.environ["SECRET"]}
    Secret(value=key).save("s3-key", overwrite=True)
    print(look())
    Secret(value=json.dumps(key)).save("s3-key", overwrite=True)
    print(look())

    from prefect_aws import AwsClientParameters, AwsCredentials, MinIOCredentials, S3Bucket

    @flow
    def look_at(block: str, **place: str) -> str:
        system = load_system(system_file)
        location = {"bucket": "kept", "credentials_block": block, **place}
        system = system.model_copy(update={"store": type(system.store).model_validate(location)})
        try:
            workspace = Workspace.at(home)
            with store_for(workspace, system) as store:
                return Live(workspace)(check_store("small", store))
        except SettingError as error:
            return error.what

    here = AwsClientParameters(endpoint_url=os.environ["ENDPOINT"])
    aws = AwsCredentials(**key, region_name="us-east-1", aws_client_parameters=here)
    aws.save("aws")
    user = {"minio_root_user": os.environ["KEY"], "minio_root_password": os.environ["SECRET"]}
    minio = MinIOCredentials(**user, aws_client_parameters=here)
    minio.save("minio")
    S3Bucket(bucket_name="kept", bucket_folder="of/us/", credentials=aws).save("of-aws")
    S3Bucket(bucket_name="kept", credentials=minio).save("of-minio")
    AwsCredentials(profile_name="mlperf").save("profile")
    AwsCredentials(aws_access_key_id="AKIA").save("half")
    print("---")
    print(look_at("aws-credentials/aws"))
    print(look_at("minio-credentials/minio"))
    print(look_at("s3-bucket/of-aws", prefix="of/us"))
    print(look_at("s3-bucket/of-minio"))
    print(look_at("s3-bucket/of-aws"))
    print(look_at("aws-credentials/profile"))
    print(look_at("aws-credentials/half"))
    print(look_at("aws-credentials/nosuch"))
    print(look_at("gcp-credentials/s3"))
    sys.modules["prefect_aws"] = None
    print(look_at("aws-credentials/aws"))
"""


def test_a_key_comes_out_of_its_block_and_into_no_text(rehearsal_file: Path, tmp_path: Path) -> None:
    with embedded_s3(tmp_path / "s3", tmp_path / "s3.log") as endpoint:
        content = yaml.safe_load(rehearsal_file.read_text())
        content["store"] = {
            "bucket": "kept",
            "endpoint_url": endpoint.url,
            "credentials_block": "s3-key",
        }
        rehearsal_file.write_text(yaml.safe_dump(content))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path), str(rehearsal_file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=900,
            env=clean_environment(
                KEY=endpoint.access_key,
                SECRET=endpoint.secret_key,
                ENDPOINT=endpoint.url,
                PREFECT_LOGGING_LEVEL="DEBUG",
            ),
            check=False,
        )
    assert done.returncode == 0, done.stderr
    secrets, of_prefect_aws = done.stdout.split("---\n")
    missing, wrong, found, as_text = secrets.splitlines()[-4:]
    assert missing == "there is no Secret block 's3-key'"
    assert wrong == (
        "the Secret block 's3-key' does not hold an S3 key; wrong or missing: aws_secret_access_key, password"
    )
    assert found == as_text == "s3://kept/"
    assert of_prefect_aws.splitlines() == [
        "s3://kept/",
        "s3://kept/",
        "s3://kept/of/us/",
        "s3://kept/",
        "the block is of s3://kept/of/us/, the system file of s3://kept/",
        "the block has profile_name, which is not taken from a block",
        "the block has one half of a key only",
        "there is no aws-credentials block 'nosuch'",
        "no block of the type 'gcp-credentials' can hold an S3 key",
        "a block of the type aws-credentials needs prefect-aws, which is not installed",
    ]
    logs = [path.read_text(errors="replace") for path in tmp_path.rglob("*.log")]
    assert logs
    assert not any(endpoint.secret_key in text for text in [done.stdout, done.stderr, *logs])


def test_without_a_prefect_server_the_block_is_named(rehearsal_file: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(rehearsal_file.read_text())
    content["store"] = {"endpoint_url": "http://127.0.0.1:9", "credentials_block": "s3-key"}
    rehearsal_file.write_text(yaml.safe_dump(content))
    program = [sys.executable, "-c", "from cli.main import main; main()"]
    arguments = ["store", "list", str(rehearsal_file), "--work", str(tmp_path)]
    done = subprocess.run(
        [*program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env=clean_environment(PREFECT_HOME=str(tmp_path / "prefect")),
        check=False,
    )
    assert done.returncode == 2
    assert "no Prefect server is configured" in done.stderr
    assert "PREFECT_API_URL" in done.stderr
    assert "s3-key" in done.stderr
