"""What a Prefect block says of the store: its S3 key, and of prefect-aws' blocks also where it answers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from mlperf_submission.config.system import StoreLocation
from mlperf_submission.errors import SettingError
from mlperf_submission.store.bucket import s3_address
from mlperf_submission.store.s3 import Credentials

_SECRET, _BUCKET = "secret", "s3-bucket"
_KINDS = (_SECRET, "aws-credentials", "minio-credentials", _BUCKET)
"""The slugs of the block types, as Prefect writes them before a block's name."""


class _Key(BaseModel):
    """What a Secret block holds, by the names that AWS itself uses."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    aws_access_key_id: str
    aws_secret_access_key: SecretStr
    aws_session_token: SecretStr | None = None


@dataclass(frozen=True)
class StoreAccess:
    """What a block says of the store.

    Attributes:
        credentials: its key; None leaves it to the standard AWS chain.
        endpoint_url, region: where it answers; None if the block does not say.
    """

    credentials: Credentials | None
    endpoint_url: str | None = None
    region: str | None = None


def names_a_server(block: str) -> bool:
    """Whether a block is no Secret: those of prefect-aws stand for a server, AWS if they name no other."""
    return "/" in block and not block.startswith(f"{_SECRET}/")


def access_from_block(location: StoreLocation) -> StoreAccess:
    """Load the Prefect block that a store's location names; nothing of it is logged or put into a message.

    The block is a Secret, by its name, or a block of prefect-aws, by `<type>/<name>`. The value of a Secret
    is JSON with `aws_access_key_id`, `aws_secret_access_key` and, if need be, `aws_session_token`.

    Args:
        location: with a `credentials_block`.

    Raises:
        SettingError: no Prefect server is configured, there is no such block, it holds something else or
            another bucket, or prefect-aws is not installed.
    """
    given = location.credentials_block or ""
    kind, name = given.split("/", 1) if "/" in given else (_SECRET, given)
    where = f"store.credentials_block: {given}"
    if kind not in _KINDS:
        raise SettingError(
            f"no block of the type {kind!r} can hold an S3 key",
            where=where,
            remedy=f"write <type>/<name> with one of the types {', '.join(_KINDS)}; a name alone is a Secret",
        )
    from prefect.settings import get_current_settings

    if get_current_settings().api.url is None:
        raise SettingError(
            "no Prefect server is configured that could hold the block",
            where=where,
            remedy="set PREFECT_API_URL, or leave credentials_block out and use the AWS environment",
        )
    if kind == _SECRET:
        return StoreAccess(_of_secret(_loaded(kind, name, where), name, where))
    try:
        import_module("prefect_aws")  # it makes its blocks known to Prefect
    except ImportError:
        raise SettingError(
            f"a block of the type {kind} needs prefect-aws, which is not installed",
            where=where,
            remedy="pip install -e '.[prefect-aws]', or keep the key in a Secret block",
        ) from None
    block = _loaded(kind, name, where)
    if kind == _BUCKET:
        _require_same_place(block, location, where)
        block = block.credentials
    return StoreAccess(_key_of(block, where), block.aws_client_parameters.endpoint_url, block.region_name)


def _loaded(kind: str, name: str, where: str) -> Any:
    from prefect.blocks.core import Block

    shown = "Secret" if kind == _SECRET else kind
    try:
        return Block.load(f"{kind}/{name}")
    except ValidationError:  # a ValueError too, and it would show the values
        raise SettingError(
            f"the {shown} block cannot be read by the version that is installed here",
            where=where,
            remedy="save it anew on Prefect's page Blocks",
        ) from None
    except ValueError:
        raise SettingError(
            f"there is no {shown} block {name!r}",
            where=where,
            remedy="create it on Prefect's page Blocks"
            + (" (Secret), with JSON as its value" if kind == _SECRET else f", of the type {shown}"),
        ) from None


def _of_secret(block: Any, name: str, where: str) -> Credentials:
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


def _key_of(block: Any, where: str) -> Credentials | None:
    """Return the key of AwsCredentials or MinIOCredentials; None if the block leaves it to the AWS chain."""
    if hasattr(block, "minio_root_user"):
        return Credentials(block.minio_root_user, block.minio_root_password.get_secret_value())
    other = [name for name in ("profile_name", "assume_role_arn") if getattr(block, name, None)]
    key, secret = block.aws_access_key_id, block.aws_secret_access_key
    if other or bool(key) != bool(secret):
        raise SettingError(
            f"the block has {other[0]}, which is not taken from a block"
            if other
            else "the block has one half of a key only",
            where=where,
            remedy="write aws_access_key_id and aws_secret_access_key into it; a profile or a role is named "
            "by AWS_PROFILE on the worker, which renews it",
        )
    return Credentials(key, secret.get_secret_value(), _plain(block.aws_session_token)) if key else None


def _plain(secret: str | SecretStr | None) -> str | None:
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret


def _require_same_place(block: Any, location: StoreLocation, where: str) -> None:
    """Refuse a bucket other than the file's: pages and messages have the file's address."""
    there, here = (
        s3_address(block.bucket_name, block.bucket_folder),
        s3_address(location.bucket, location.prefix),
    )
    if there != here:
        raise SettingError(
            f"the block is of {there}, the system file of {here}",
            where=where,
            remedy="write the bucket and the folder of the block as store.bucket and store.prefix",
        )
