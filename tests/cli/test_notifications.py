"""The file of automations: what is wrong with it is said, before anything is applied."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from prefect.client.orchestration import SyncPrefectClient

from cli.notifications import apply_automations
from mlperf_submission.errors import SettingError


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("automations: [{name: x, actions: 3}]", "automations.0.actions"),
        ("automations: [{name: x, actions: []}]", "trigger"),
        ("automations: []\nautomations: []", "line 2"),
        ("[1, 2]", "these are no automations"),
    ],
)
def test_a_file_that_is_no_list_of_automations_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "automations.yaml"
    path.write_text(content)
    with pytest.raises(SettingError, match=told):
        apply_automations(cast("SyncPrefectClient", None), path)  # it is never asked
