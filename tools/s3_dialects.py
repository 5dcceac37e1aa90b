"""`python -m tools.s3_dialects URL`: how an S3 server does what the store asks of it; a row of docs/store.md.

The key comes from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. A bucket is made and stays, with what was
tried in it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx

from mlperf_submission.deadline import Limits
from mlperf_submission.errors import PipelineError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.s3 import Credentials
from mlperf_submission.store.transfers import MULTIPART_BYTES, PART_BYTES

_PAGE = "text/html; charset=utf-8"
_KEYS = 1010
_WORKERS = 8


def tried(bucket: Bucket, folder: Path, keys: int = _KEYS) -> dict[str, str]:
    """Return what a server does, in words, by the name of what was asked of it.

    Args:
        bucket: one that may be written; what is tried lies there in the end.
        folder: an empty one, for a file that is sent in parts.
        keys: how many are listed; by default more than one page of a listing.
    """
    steps: dict[str, Callable[[], str]] = {
        "conditional write": partial(_conditional, bucket),
        "SHA-256 checksum": partial(_checksum, bucket),
        "entity tag": partial(_tags, bucket, folder),
        "listing": partial(_listing, bucket, keys),
        "presigned link": partial(_link, bucket),
    }
    return {name: _said(step) for name, step in steps.items()}


def _said(step: Callable[[], str]) -> str:
    try:
        return step()
    except PipelineError as error:
        return f"error: {error.what}"


def _conditional(bucket: Bucket) -> str:
    bucket.write("condition", b"first", only_new=True)
    bucket.write("condition", b"second", only_new=True)
    return "kept" if bucket.read("condition") == b"first" else "ignored: the second write wins"


def _checksum(bucket: Bucket) -> str:
    if not bucket.compares_sums:
        return "a wrong one is not refused, or the right one is not taken"
    bucket.write("store.json", b"{}")
    return "a wrong one is refused, the right one taken"


def _tags(bucket: Bucket, folder: Path) -> str:
    """Compare the entity tags of a small object and of one that was sent in parts with MD5s of our own."""
    bucket.write("whole", b"whole")
    whole = bucket.look_at("whole")
    blocks = [os.urandom(PART_BYTES), os.urandom(MULTIPART_BYTES - PART_BYTES)]
    path = folder / "in-parts"
    path.write_bytes(b"".join(blocks))
    bucket.upload(path, "in-parts", Limits(), lambda _: None)
    found = bucket.look_at("in-parts")
    parts = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        parts.update(hashlib.md5(block, usedforsecurity=False).digest())
    known = {
        hashlib.md5(b"".join(blocks), usedforsecurity=False).hexdigest(): "MD5 of the whole",
        f"{parts.hexdigest()}-{len(blocks)}": "MD5 of the parts' MD5s",
    }
    small = hashlib.md5(b"whole", usedforsecurity=False).hexdigest()
    return (
        f"{'MD5' if whole and whole.etag == small else 'something else'}; in parts: "
        f"{known.get(found.etag, 'something else') if found else 'the object is not there'}"
    )


def _listing(bucket: Bucket, count: int) -> str:
    wanted = sorted(f"list/{number % 10}/{number:04d}" for number in range(count))
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(lambda key: bucket.write(key, key.encode()), wanted))
    found = list(bucket.objects("list/"))
    keys = [one.key for one in found]
    if sorted(keys) != wanted:
        return f"{len(set(keys) & set(wanted))} of {count} keys"
    order = "in order" if keys == wanted else "in no order"
    sizes = "with sizes" if all(one.size == len(one.key) for one in found) else "with wrong sizes"
    return f"all {count} keys, {order}, {sizes}"


def _link(bucket: Bucket) -> str:
    bucket.write("page.html", b"<p>page</p>")
    link = bucket.link("page.html", 60, _PAGE)
    short = bucket.link("page.html", 1, _PAGE)
    forged = re.sub(r"(X-Amz-Signature=)\w+", r"\g<1>" + "0" * 64, link)
    opened = httpx.get(link)
    if opened.content != b"<p>page</p>":
        return f"refused ({opened.status_code})"
    time.sleep(3)
    kind = "as HTML" if opened.headers.get("content-type") == _PAGE else "as another type"
    refused = {
        "forged": httpx.get(forged).status_code,
        "without signature": httpx.get(link.partition("?")[0]).status_code,
        "after its time": httpx.get(short).status_code,
    }
    taken = [name for name, status in refused.items() if status < 400]
    return f"opens {kind}; " + (f"also opens {', '.join(taken)}" if taken else "else refused")


def main() -> None:
    """Print a server's row."""
    parser = argparse.ArgumentParser(prog="python -m tools.s3_dialects", description=__doc__)
    parser.add_argument("url", help="http(s)://host:port")
    credentials = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    bucket = Bucket(
        f"dialects-{secrets.token_hex(4)}",
        endpoint_url=parser.parse_args().url,
        credentials=credentials,
        isolated=True,
    )
    bucket.ensure()
    with tempfile.TemporaryDirectory(prefix="mlperf-dialects-") as folder:
        found = tried(bucket, Path(folder))
    print(f"| {' | '.join(found)} |\n| {' | '.join(found.values())} |")


if __name__ == "__main__":
    main()
