"""The garbage of a store: what no run needs any more. Found first, deleted only on demand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from mlperf_submission.deadline import Limits, in_parallel
from mlperf_submission.errors import SettingError
from mlperf_submission.store.bucket import Bucket, StoredObject, UnfinishedUpload
from mlperf_submission.store.catalogue import Catalogue, Problem
from mlperf_submission.store.manifest import Manifest, hashes_in, object_key
from mlperf_submission.store.marks import Collection, Marks

LEAST_AGE = timedelta(hours=24)
"""Younger content may be of an upload that broke off and goes on."""
_DAY = timedelta(days=1)
_MOST_DAYS = 36_500
_OBJECTS = "objects/sha256/"
_KEY_PARTS = 4
_BATCH = 200
"""Deletions between two looks at who else is at work."""


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
        problems: what lies in the place of a run and is none: it costs itself.
        kept: why nothing, or not all, was deleted though it was asked for.
    """

    objects: tuple[StoredObject, ...]
    uploads: tuple[UnfinishedUpload, ...]
    removed: tuple[StoredObject, ...]
    retained: tuple[StoredObject, ...]
    young: tuple[StoredObject, ...]
    deleted: bool
    problems: tuple[Problem, ...] = ()
    kept: str = ""

    @property
    def size(self) -> int:
        """Bytes of the objects; what unfinished uploads hold, no server says."""
        return sum(item.size for item in self.objects)


def age(days: float) -> timedelta:
    """Return a limit for `collect_garbage` in days.

    Raises:
        SettingError: there is no such length of time, or it is too short.
    """
    if not LEAST_AGE / _DAY <= days <= _MOST_DAYS:
        raise SettingError(
            f"content of {days:g} days cannot be asked for: what is younger than {LEAST_AGE / _DAY:g} may "
            "belong to an upload that goes on",
            remedy=f"give {LEAST_AGE / _DAY:g} to {_MOST_DAYS} days",
        )
    return timedelta(days=days)


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

    No upload can lose what it counts on: an upload and a deletion do not run beside each other
    (`marks`). What a damaged manifest names is kept; if it cannot be known what it names, all
    content is.

    Args:
        bucket: of the store.
        catalogue: of its runs.
        older_than: the limit, at least 24 h.
        delete: False only finds.
        workers: deletions at once.
        now: the time that ages and retention dates are compared with; by default this moment, by the server's
            clock.

    Raises:
        SettingError: the limit is too short.
    """
    if older_than < LEAST_AGE:
        raise SettingError(
            f"content of {older_than.total_seconds() / 3600:.0f} h may belong to an upload that goes on",
            remedy=f"give at least {LEAST_AGE.total_seconds() / 3600:.0f} h",
        )
    bucket.require()
    marks = Marks(bucket)
    if not delete:
        return _find(bucket, catalogue, older_than, now or datetime.now(UTC))
    with marks.collecting("store collect") as collection:
        found = _find(bucket, catalogue, older_than, now or collection.now)
        blind = [problem for problem in found.problems if _names(problem) is None]
        if blind:
            return replace(found, kept=f"it cannot be known what {blind[0].key} names")
        busy = _delete(bucket, found, collection, workers)
        in_parallel(
            lambda item: bucket.remove(item.key),
            marks.over(collection.now),
            workers=workers,
            limits=Limits(),
        )
    return replace(found, deleted=not busy, kept=busy)


def _find(bucket: Bucket, catalogue: Catalogue, older_than: timedelta, now: datetime) -> Garbage:
    limit = now - older_than
    uploads = tuple(upload for upload in bucket.unfinished_uploads() if upload.begun < limit)
    objects = [item for item in bucket.objects(_OBJECTS) if _is_content(item.key)]
    # In this order: a run that is removed meanwhile is found among the runs, or among the removed.
    listing = catalogue.runs()
    removed = catalogue.removed()
    manifests = [run.manifest for run in listing.runs]
    manifests += [one.manifest for one in removed if one.manifest and one.item.modified >= limit]
    named = set().union(*(manifest.keys for manifest in manifests))
    named |= {object_key(sha256) for problem in listing.problems for sha256 in _names(problem) or ()}
    kept = {one.item.key: _retained(one.manifest, now) if one.manifest else set() for one in removed}
    retained = set().union(*kept.values())
    unnamed = [item for item in objects if item.key not in named]
    return Garbage(
        objects=tuple(one for one in unnamed if one.key not in retained and one.modified < limit),
        uploads=uploads,
        removed=tuple(one.item for one in removed if one.item.modified < limit and not kept[one.item.key]),
        retained=tuple(item for item in unnamed if item.key in retained),
        young=tuple(item for item in unnamed if item.key not in retained and item.modified >= limit),
        deleted=False,
        problems=listing.problems,
    )


def _names(problem: Problem) -> set[str] | None:
    """The hashes that a damaged manifest names; None if it may name any. A stray object is no manifest."""
    return set() if problem.content is None else hashes_in(problem.content)


def _delete(bucket: Bucket, garbage: Garbage, collection: Collection, workers: int) -> str:
    """Delete in batches; give way to an upload, and return what it is for."""
    # Last the removed: while one of its objects is there, a removed run's manifest says what it was.
    keys = [*(item.key for item in garbage.objects), *(item.key for item in garbage.removed)]
    if busy := collection.uploads():
        return f"{busy[0]} is under way"
    in_parallel(bucket.abort, garbage.uploads, workers=workers, limits=Limits())
    for begin in range(0, len(keys), _BATCH):
        collection.renew()
        if busy := collection.uploads():
            return f"{busy[0]} is under way"
        in_parallel(bucket.remove, keys[begin : begin + _BATCH], workers=workers, limits=Limits())
    return ""


def _retained(manifest: Manifest, now: datetime) -> set[str]:
    files = [file for file in manifest.files if file.retain_until and file.retain_until > now]
    return {object_key(sha256) for file in files for sha256 in (file.sha256, file.bundle) if sha256}


def _is_content(key: str) -> bool:
    """Whether a key is one that this store gives to content: others are not ours to delete."""
    sha256 = key.rpartition("/")[2]
    return key.count("/") == _KEY_PARTS - 1 and len(sha256) == 64 and key == object_key(sha256)
