"""What the tool says of a server is what that server does."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.embedded import embedded_s3
from tools.s3_dialects import tried


def test_rclones_dialect_is_told(tmp_path: Path) -> None:
    with embedded_s3(tmp_path / "s3", tmp_path / "s3.log") as endpoint:
        bucket = Bucket("tried", endpoint_url=endpoint.url, credentials=endpoint.credentials, isolated=True)
        bucket.ensure()
        found = tried(bucket, tmp_path, keys=20)
    assert found["conditional write"].startswith("ignored")
    assert found["entity tag"] == "MD5; in parts: MD5 of the whole"
    assert found["listing"] == "all 20 keys, in order, with sizes"
    assert found["presigned link"] == "opens as HTML; else refused"
