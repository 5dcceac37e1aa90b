"""What of a system file everybody may read in the tree: enough to run it again, and nothing private."""

from __future__ import annotations

from pathlib import Path

import yaml

from mlperf_submission.config.system import load_system
from mlperf_submission.strict_yaml import written_yaml
from tasks.package import package, public_settings

PRIVATE = {
    "store": {
        "bucket": "private-bucket",
        "prefix": "private-prefix",
        "endpoint_url": "http://private-user:private-word@private-host",
        "region": "private-region",
        "credentials_block": "private-block",
        "encryption": "aws:kms",
        "kms_key_id": "private-key",
    },
    "licensed_data": {"imagenet": "/home/private/imagenet"},
}


def test_neither_the_tree_nor_its_step_holds_what_is_private(rehearsal_file: Path, tmp_path: Path) -> None:
    open_system = load_system(str(rehearsal_file))
    rehearsal_file.write_text(yaml.safe_dump({**yaml.safe_load(rehearsal_file.read_text()), **PRIVATE}))
    system = load_system(str(rehearsal_file))
    published = tmp_path / "published.yaml"
    published.write_text(written_yaml(public_settings(system)))
    assert "private" not in published.read_text()
    assert "private" not in str(package("sys", system, False, []).inputs())
    assert load_system(str(published)) == open_system
