"""Who is at work on a store: uploads and collections do not run beside each other.

Each writes a mark first and then looks for the other's, so that of two that begin at once at least one sees
the other. An upload waits for a collection, and a collection gives way. A mark holds for a limited time, by
the server's clock: one whose process was killed ends by itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlperf_submission.deadline import Limits
from mlperf_submission.errors import StoreError, UnreachableError
from mlperf_submission.store.bucket import Bucket, StoredObject

PREFIX = "busy/"
SEEN_AFTER_SECONDS = 5.0
"""A collection waits this long after its mark: two servers on one folder (rclone) see each other's writes
after two seconds, and each side needs that time once."""
COLLECTION_SECONDS = 600.0
"""How long a collection's mark holds; it is renewed before each batch of deletions."""
WAIT_SECONDS = 30.0
"""How long an upload waits for a collection to give way."""
_UPLOAD_SECONDS = 24 * 3600.0
_POLL_SECONDS = 1.0


class Mark(BaseModel):
    """A mark as it lies in the store.

    Attributes:
        kind: who is at work.
        what: what on, for a person.
        seconds: how long it holds, from the moment at which it was written; 0 for one that is over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["upload", "collection"]
    what: str
    seconds: Annotated[float, Field(ge=0, le=365 * 86400)]


class Collection:
    """A collection's mark while it holds.

    Attributes:
        now: the server's clock when the mark was written last.
    """

    def __init__(self, marks: Marks, key: str, mark: Mark) -> None:
        self._marks, self._key, self._mark = marks, key, mark
        self.now = marks.write(key, mark)

    def renew(self) -> None:
        """Hold the mark for its whole time again."""
        self.now = self._marks.write(self._key, self._mark)

    def uploads(self) -> list[str]:
        """Return what uploads that are under way are for: a collection gives way to them."""
        return self._marks.held("upload", self.now)


class Marks:
    """The marks of a store."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @contextmanager
    def uploading(self, what: str, limits: Limits) -> Iterator[None]:
        """Hold an upload's mark for the length of the block, which no collection disturbs.

        Raises:
            UnreachableError: a collection is at work and does not give way: a retry can help.
        """
        key = _new_key()
        mark = Mark(kind="upload", what=what, seconds=limits.seconds(_UPLOAD_SECONDS))
        now = self.write(key, mark)
        try:
            until = time.monotonic() + limits.seconds(WAIT_SECONDS)
            while found := self.held("collection", now):
                if time.monotonic() >= until:
                    raise UnreachableError(
                        f"the store is being collected ({found[0]})",
                        where=self._bucket.address(),
                        remedy="start again when that is finished; what is done is kept",
                    )
                time.sleep(_POLL_SECONDS)
                now = self.write(key, mark)
            yield
        finally:
            self._end(key, mark)

    @contextmanager
    def collecting(self, what: str) -> Iterator[Collection]:
        """Hold a collection's mark for the length of the block; it stays for its time if the block fails.

        A deletion that was asked for and not answered may still be carried out.
        """
        key = _new_key()
        mark = Mark(kind="collection", what=what, seconds=COLLECTION_SECONDS)
        collection = Collection(self, key, mark)
        time.sleep(SEEN_AFTER_SECONDS)
        collection.renew()
        yield collection
        self._end(key, mark)

    def held(self, kind: str, now: datetime) -> list[str]:
        """Return what the marks of a kind are for that hold at a time of the server's clock."""
        return [mark.what for item, mark in self._all() if mark.kind == kind and _end_of(item, mark) > now]

    def over(self, now: datetime) -> list[StoredObject]:
        """Return the marks that hold no more: their processes were killed, or may not delete."""
        return [item for item, mark in self._all() if _end_of(item, mark) <= now]

    def write(self, key: str, mark: Mark) -> datetime:
        """Write a mark; return the time on the server's clock."""
        self._bucket.write(key, mark.model_dump_json().encode())
        found = self._bucket.look_at(key)
        if found is None:
            raise StoreError(
                "what was written is not there",
                where=self._bucket.address(key),
                remedy="check the server: it does not keep what it confirms",
            )
        return found.modified

    def _all(self) -> Iterator[tuple[StoredObject, Mark]]:
        for item in self._bucket.objects(PREFIX):
            content = self._bucket.read(item.key)
            with suppress(ValidationError):  # what is no mark, is not ours
                if content:
                    yield item, Mark.model_validate_json(content)

    def _end(self, key: str, mark: Mark) -> None:
        """Take a mark away; where the key may not delete, say in it that it is over."""
        try:
            self._bucket.remove(key)
        except StoreError:
            with suppress(StoreError, UnreachableError):
                self.write(key, mark.model_copy(update={"seconds": 0.0}))
        except UnreachableError:
            return  # it ends by itself


def _new_key() -> str:
    return f"{PREFIX}{secrets.token_hex(8)}"


def _end_of(item: StoredObject, mark: Mark) -> datetime:
    # A listing has parts of a second, an answer to HEAD has none.
    return item.modified.replace(microsecond=0) + timedelta(seconds=mark.seconds)
