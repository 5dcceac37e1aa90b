"""S3 keys out of a Prefect block, with a real Prefect server and a real S3 server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
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
"""


def test_a_key_comes_out_of_its_block_and_into_no_text(
    rehearsal_file: Path, tmp_path: Path, prefect_home: Callable[[Path], Path]
) -> None:
    prefect_home(tmp_path / "prefect")
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
                KEY=endpoint.access_key, SECRET=endpoint.secret_key, PREFECT_LOGGING_LEVEL="DEBUG"
            ),
            check=False,
        )
    assert done.returncode == 0, done.stderr
    missing, wrong, found, as_text = done.stdout.splitlines()[-4:]
    assert missing == "there is no Secret block 's3-key'"
    assert wrong == (
        "the Secret block 's3-key' does not hold an S3 key; wrong or missing: aws_secret_access_key, password"
    )
    assert found == as_text == "s3://kept/"
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
