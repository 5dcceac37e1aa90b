"""A small run, and how the tests look at what became of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mlperf_submission.files import files_below
from mlperf_submission.store.manifest import Manifest, object_key
from mlperf_submission.store.store import MadeBy, RunInfo, Store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MADE_BY = MadeBy(step="package", label="resnet50", key="0" * 64)
CONTENTS = {
    "tree/results/a.txt": b"alpha",
    "tree/results/same.txt": b"alpha",
    "tree/b.bin": bytes(range(256)) * 5000,
    "page/index.html": b"<html>",
    "empty": b"",
    "tree/c.txt": b"charlie",
    "tree/d.txt": b"delta",
}
BUNDLED = ["tree/results/a.txt", "tree/results/same.txt", "tree/c.txt", "tree/d.txt"]
"""The small ones, which share an object."""
OBJECTS = 4
"""The bundle, the binary, the page, and the empty one."""


def info(run: str = "one", **changes: object) -> RunInfo:
    fields = {"system": "sys", "run": run, "round": "v4.1", "created": NOON, "rehearsal": False}
    return RunInfo.model_validate({**fields, "tool_version": "0.1", "figures": {"ok": True}, **changes})


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_below(folder)}


def addresses(store: Store) -> list[str]:
    return [str(stored.address) for stored in store.list_runs()]


def key_of(manifest: Manifest, path: str) -> str:
    """Return the key of the object that has a file."""
    return next(object_key(file.bundle or file.sha256) for file in manifest.files if file.path == path)
