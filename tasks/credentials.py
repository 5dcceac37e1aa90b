"""S3 keys out of a Prefect block, for hosts that get no AWS environment of their own."""

from __future__ import annotations

from prefect.blocks.system import Secret
from prefect.settings import get_current_settings
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from mlperf_submission.errors import SettingError
from mlperf_submission.store.s3 import Credentials


class _Key(BaseModel):
    """What the block holds, by the names that AWS itself uses."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    aws_access_key_id: str
    aws_secret_access_key: SecretStr
    aws_session_token: SecretStr | None = None


def credentials_from_block(name: str) -> Credentials:
    """Load a key from a Prefect Secret block; nothing of it is logged or put into a message.

    Args:
        name: of the block. Its value is JSON with `aws_access_key_id`, `aws_secret_access_key` and, if need
            be, `aws_session_token`.

    Raises:
        SettingError: no Prefect server is configured, there is no such block, or it holds something else.
    """
    where = f"store.credentials_block: {name}"
    if get_current_settings().api.url is None:
        raise SettingError(
            "no Prefect server is configured that could hold the block",
            where=where,
            remedy="set PREFECT_API_URL, or leave credentials_block out and use the AWS environment",
        )
    try:
        block = Secret.load(name)
    except ValueError:
        raise SettingError(
            f"there is no Secret block {name!r}",
            where=where,
            remedy="create it on Prefect's page Blocks (Secret), with JSON as its value",
        ) from None
    assert isinstance(block, Secret)  # noqa: S101 - a coroutine only inside of an event loop
    try:
        key = _Key.model_validate(block.get())
    except ValidationError as error:
        # The values themselves are secrets: only the names of the fields are told.
        fields = sorted({".".join(map(str, problem["loc"])) or "its value" for problem in error.errors()})
        raise SettingError(
            f"the Secret block {name!r} does not hold an S3 key; wrong or missing: {', '.join(fields)}",
            where=where,
            remedy='its value is JSON: {"aws_access_key_id": …, "aws_secret_access_key": …}',
        ) from None
    token = key.aws_session_token
    return Credentials(
        key.aws_access_key_id,
        key.aws_secret_access_key.get_secret_value(),
        token.get_secret_value() if token else None,
    )
