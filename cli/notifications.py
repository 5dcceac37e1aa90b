"""`python -m cli.notifications`: the webhook block and the automations of automations.yaml.

The address of the webhook is a secret: it is read from MLPERF_WEBHOOK_URL and kept, encrypted, in the Prefect
block `custom-webhook/mlperf`. Any other notification block can be named in automations.yaml instead.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from prefect import get_client
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.types import SecretDict
from pydantic import BaseModel, ConfigDict, ValidationError

from mlperf_submission.errors import PipelineError, SettingError
from mlperf_submission.strict_yaml import read_yaml

AUTOMATIONS = Path(__file__).resolve().parent.parent / "deployments" / "automations.yaml"
VARIABLE = "MLPERF_WEBHOOK_URL"
BLOCK = "mlperf"


class _Actions(BaseModel):
    """What is read of an automation here: its actions; Prefect reads the rest."""

    model_config = ConfigDict(extra="allow")
    actions: list[dict[str, Any]]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    automations: list[_Actions]


def save_webhook(url: str) -> None:
    """Save the block that posts `{"text": …}` to a webhook, as Slack, Mattermost and others take it."""
    block = CustomWebhookNotificationBlock(
        name=BLOCK,
        url="{{url}}",  # filled in from the secrets, which Prefect encrypts and does not show
        json_data={"text": "{{subject}}\n{{body}}"},
        secrets=SecretDict({"url": url}),
    )
    block.save(BLOCK, overwrite=True)


def apply_automations(client: SyncPrefectClient, path: Path = AUTOMATIONS) -> list[str]:
    """Create the automations of a file, or change those that are there under the same name.

    `prefect automation create` would make a second one of each, and every message would come twice.

    Args:
        client: of the Prefect server.
        path: a file with a list `automations`; `block_document_id` may be a block's `<type>/<name>`.

    Returns:
        The names of the automations.

    Raises:
        SettingError: the file is no list of automations, or a block that it names is not on the server.
    """
    names = []
    for automation in _automations_in(client, path):
        existing = client.read_automations_by_name(automation.name)
        if existing:
            client.update_automation(existing[0].id, automation)
        else:
            client.create_automation(automation)
        names.append(automation.name)
    return names


def _automations_in(client: SyncPrefectClient, path: Path) -> list[AutomationCore]:
    try:
        found = _File.model_validate(read_yaml(path.read_bytes(), path))
        return [
            AutomationCore.model_validate(
                one.model_dump() | {"actions": [_with_block(client, action, path) for action in one.actions]}
            )
            for one in found.automations
        ]
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingError(
            f"these are no automations: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=path,
            remedy="write them as Prefect's documentation of automations has them",
        ) from error


def _with_block(client: SyncPrefectClient, action: dict[str, Any], path: Path) -> dict[str, Any]:
    reference = str(action.get("block_document_id", ""))
    if "/" not in reference:
        return action
    slug, _, name = reference.partition("/")
    try:
        document = client.read_block_document_by_name(name, slug)
    except ObjectNotFound as error:
        raise SettingError(
            f"the Prefect server has no block {reference!r}",
            where=path,
            remedy=f"set {VARIABLE} to the webhook's address and start again, or name another block",
        ) from error
    return {**action, "block_document_id": str(document.id)}


def main() -> None:
    """Save the webhook if the environment names one, and apply the automations."""
    url = os.environ.get(VARIABLE)
    try:
        if url:
            save_webhook(url)
        with get_client(sync_client=True) as client:
            names = apply_automations(client)
    except PipelineError as error:
        sys.exit(f"error: {error}")
    print(f"applied: {', '.join(names)}")


if __name__ == "__main__":
    main()
