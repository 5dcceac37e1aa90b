"""The garbage of a store: what no run needs any more. Found first, deleted only on demand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from common.deadline import Limits, in_parallel
from common.errors import SettingError
from storage.store.bucket import Bucket, StoredObject, UnfinishedUpload
from storage.store.catalogue import Catalogue
from storage.store.manifest import Manifest, object_key

LEAST_AGE = timedelta(hours=24)
"""Younger content may belong to an upload that has no manifest yet."""
_OBJECTS = "objects/sha256/"
_KEY_PARTS = 4


@dataclass(frozen=True)
class Garbage:
    """What a collection found, and whether it deleted it.

    Attributes:
        objects: content that no run names, older than the limit.
        uploads: multipart uploads that were begun before the limit and never finished.
        removed: manifests of removed runs, none of whose files is retained any more.
        retained: content that is kept only because its retention date has not come.
        young: content that no run names yet, younger than the limit.
        deleted: False: nothing was deleted, this is what would be.
    """

    objects: tuple[StoredObject, ...]
    uploads: tuple[UnfinishedUpload, ...]
    removed: tuple[StoredObject, ...]
    retained: tuple[StoredObject, ...]
    young: tuple[StoredObject, ...]
    deleted: bool

    @property
    def size(self) -> int:
        """Bytes of the objects; what unfinished uploads hold, no server says."""
        return sum(item.size for item in self.objects)


def collect_garbage(
    bucket: Bucket,
    catalogue: Catalogue,
    *,
    older_than: timedelta,
    delete: bool,
    workers: int,
    now: datetime | None = None,
) -> Garbage:
    """Find what no run needs, and delete it if asked to.

    Nothing is lost that an upload or a removed run still needs: an upload sends again what no run names and
    is older than `REUSE_AGE`, this leaves alone what is younger than the limit, and each object's age is
    looked at once more before it is deleted. Objects are listed before the manifests are read, so a run that
    is completed meanwhile is seen.

    Args:
        bucket: of the store.
        catalogue: of its runs.
        older_than: the limit, at least 24 h, and longer than any upload takes by at least `REUSE_AGE`.
        delete: False only finds.
        workers: deletions at once.
        now: the time that ages and retention dates are compared with; by default this moment.

    Raises:
        SettingError: the limit is too short.
        StoreError: a manifest cannot be read: then nothing is deleted, as it may name anything.
    """
    if older_than < LEAST_AGE:
        raise SettingError(
            f"content of {older_than.total_seconds() / 3600:.0f} h may belong to an upload under way",
            remedy=f"give at least {LEAST_AGE.total_seconds() / 3600:.0f} h",
        )
    now = now or datetime.now(UTC)
    limit = now - older_than
    bucket.require()
    uploads = tuple(upload for upload in bucket.unfinished_uploads() if upload.begun < limit)
    objects = [item for item in bucket.objects(_OBJECTS) if _is_content(item.key)]
    # In this order: a run that is removed meanwhile is found among the runs, or among the removed.
    runs = catalogue.runs()
    removed = catalogue.removed()
    named = _keys(run.manifest for run in runs)
    named |= _keys(manifest for item, manifest in removed if item.modified >= limit)
    kept = {item.key: _retained(manifest, now) for item, manifest in removed}
    retained = set().union(*kept.values())
    unnamed = [item for item in objects if item.key not in named]
    found = Garbage(
        objects=tuple(one for one in unnamed if one.key not in retained and one.modified < limit),
        uploads=uploads,
        removed=tuple(item for item, _ in removed if item.modified < limit and not kept[item.key]),
        retained=tuple(item for item in unnamed if item.key in retained),
        young=tuple(item for item in unnamed if item.key not in retained and item.modified >= limit),
        deleted=delete,
    )
    if delete:
        _delete(bucket, found, limit, workers)
    return found


def _delete(bucket: Bucket, garbage: Garbage, limit: datetime, workers: int) -> None:
    def delete(item: StoredObject) -> None:
        again = bucket.look_at(item.key)
        if again and again.modified < limit:
            bucket.remove(item.key)

    in_parallel(bucket.abort, garbage.uploads, workers=workers, limits=Limits())
    in_parallel(delete, garbage.objects, workers=workers, limits=Limits())
    # Last: while one of its objects is there, a removed run's manifest says what it was.
    in_parallel(delete, garbage.removed, workers=workers, limits=Limits())


def _keys(manifests: Iterable[Manifest]) -> set[str]:
    return {object_key(file.sha256) for manifest in manifests for file in manifest.files}


def _retained(manifest: Manifest, now: datetime) -> set[str]:
    return {
        object_key(file.sha256) for file in manifest.files if file.retain_until and file.retain_until > now
    }


def _is_content(key: str) -> bool:
    """Whether a key is one that this store gives to content: others are not ours to delete."""
    sha256 = key.rpartition("/")[2]
    return key.count("/") == _KEY_PARTS - 1 and len(sha256) == 64 and key == object_key(sha256)
