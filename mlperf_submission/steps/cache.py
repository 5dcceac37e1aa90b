"""The cache of finished steps: found again by the hash of everything that went into them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.errors import DiskFullError, StepFailedError
from mlperf_submission.files import disk_full_named, sync_folder
from mlperf_submission.steps.code import code_version
from mlperf_submission.steps.hashing import FileEntry, differences, plain_json, seal_folder
from mlperf_submission.steps.records import (
    FAILED,
    StepRecord,
    changes,
    read_record,
    record_file,
    step_key,
    write_record,
)

__all__ = ["FileEntry", "StepCache", "StepRecord", "code_version", "step_key"]

_KEY_DIGITS = 12
_LEFTOVER = re.compile(r"\.(?:partial-|lock-)?([0-9a-f]{12})")
"""A partial folder, a lock, or a record that was being written."""
_KEPT_FAILURES = 5
_EVIDENCE_BYTES = 256_000_000
_WAIT_SECONDS = 0.05
_SPOKEN_AFTER_SECONDS = 1.0


class StepCache:
    """Finished steps below one folder: `<root>/<step>/<key>/` and the record `<root>/<step>/<key>.json`.

    A record is written last, after its files are complete and durable, so whatever a crash leaves behind is
    not taken for finished. A lock per key (freed by the kernel with its process) keeps two processes from
    doing the same step at once. What a failed step left lies under `<root>/failed/<step>/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def find(
        self, step: str, label: str, inputs: Mapping[str, JsonValue], *, sizes_only: bool = False
    ) -> StepRecord | None:
        """Return the finished step with these inputs if all of its files are there and whole, else None.

        Changes nothing. With `sizes_only` the files are not hashed, which is enough for a plan.

        Raises:
            SettingError: see `step_key`.
        """
        key = step_key(step, inputs)
        record = read_record(self.root, record_file(self.root, step, key))
        if record is None or differences(record.folder, record.files, sizes_only=sizes_only):
            return None
        return record.model_copy(update={"label": label, "reused": True, "reason": "found finished"})

    def run(
        self,
        step: str,
        label: str,
        inputs: Mapping[str, JsonValue],
        produce: Callable[[Path], Mapping[str, JsonValue]],
        *,
        say: Callable[[str], None] = lambda _: None,
    ) -> StepRecord:
        """Find the finished step, or call `produce(folder)` and record it.

        `produce` writes its files into the (empty, temporary) folder and returns figures; the folder is
        renamed into place and recorded only when it returned, so neither files nor figures may hold its path.
        `say` is told why: found, which inputs changed since the newest step of this label, or which file was
        damaged. If another process does the same step, this call waits for it and takes what it finished.

        Raises:
            SettingError: an input or figure is not JSON, or the step has no proper name (see `step_key`).
            StepFailedError: the step wrote a link or a special file, or a figure holds the temporary path.
            DiskFullError: the disk is full; what was half done is removed.
            Exception: whatever `produce` raises, unchanged; its folder and `reason.txt` are kept under
                `<root>/failed/<step>/`.
        """
        key = step_key(step, inputs)
        with disk_full_named(self.root), self._lock(step, key, lambda text: say(f"{step} ({label}): {text}")):
            self._remove_leftovers(step, held=key)
            found = self.find(step, label, inputs)
            if found:
                say(f"{step} ({label}): found finished, made {found.created:%Y-%m-%d %H:%M:%S} UTC")
                return found
            plain = plain_json(inputs, "inputs")
            assert isinstance(plain, dict)  # noqa: S101 - a mapping went in
            reason = self._set_damaged_aside(step, label, key) or self.why(step, label, plain)
            say(f"{step} ({label}): {reason}")
            return self._make(step, label, key, plain, produce, reason)

    def why(self, step: str, label: str, inputs: Mapping[str, JsonValue]) -> str:
        """Say what changed since the newest finished step of this label, or that it is the first time.

        Each changed input is named with its old and new value; nested ones with dots.
        """
        newest = self.newest(step, label)
        if newest is None:
            return "first time"
        return changes(newest.inputs, inputs) or "the same inputs as before"

    def newest(self, step: str, label: str) -> StepRecord | None:
        """Return the record of a label that was made last, whatever went in; None if there is none."""
        earlier = (record for record in self._of_step(step) if record.label == label)
        return max(earlier, key=lambda record: record.created, default=None)

    def records(self) -> Iterator[StepRecord]:
        """Yield the record of every finished step, by step and key. Files are not looked at."""
        for folder in sorted(self.root.glob("*/")):
            yield from self._of_step(folder.name)

    def _of_step(self, step: str) -> Iterator[StepRecord]:
        for path in sorted((self.root / step).glob("*.json")):
            record = read_record(self.root, path)
            if record is not None:
                yield record

    def remove(self, record: StepRecord) -> None:
        """Remove a finished step and its files; nothing happens if it is not there."""
        if (self.root / record.step).is_dir():
            with self._lock(record.step, record.key):
                record_file(self.root, record.step, record.key).unlink(missing_ok=True)
                shutil.rmtree(self.root / record.step / record.key, ignore_errors=True)

    # Making a step

    def _make(
        self,
        step: str,
        label: str,
        key: str,
        inputs: dict[str, JsonValue],
        produce: Callable[[Path], Mapping[str, JsonValue]],
        reason: str,
    ) -> StepRecord:
        partial = self.root / step / f".partial-{key[:_KEY_DIGITS]}-{os.getpid()}"
        final = self.root / step / key
        partial.mkdir()
        started = time.monotonic()
        try:
            with disk_full_named(partial):
                figures = _figures(produce(partial), partial)
                seconds = time.monotonic() - started
                files = seal_folder(partial)
                partial.rename(final)
                sync_folder(final.parent)
                record = StepRecord(
                    step=step,
                    label=label,
                    key=key,
                    inputs=inputs,
                    folder=final,
                    files=files,
                    figures=figures,
                    created=datetime.now(UTC),
                    seconds=seconds,
                    reason=reason,
                )
                write_record(self.root, record)
        except BaseException as error:
            why = "".join(traceback.format_exception(error))
            self._keep_evidence(partial, step, label, why, files_too=not isinstance(error, DiskFullError))
            raise
        return record

    def _set_damaged_aside(self, step: str, label: str, key: str) -> str:
        """Move an entry that cannot be reused to the evidence; say what is wrong with it, or nothing."""
        file, folder = record_file(self.root, step, key), self.root / step / key
        if not file.exists():
            shutil.rmtree(folder, ignore_errors=True)  # a crash came between its rename and its record
            return ""
        record = read_record(self.root, file)
        damage = "its record cannot be read" if record is None else str(differences(folder, record.files))
        reason = f"damaged, made anew ({damage})"
        text = f"{reason}\n\n{file.read_text(errors='replace')}"
        file.unlink()
        self._keep_evidence(folder, step, label, text, files_too=True)
        return reason

    def _keep_evidence(self, folder: Path, step: str, label: str, text: str, *, files_too: bool) -> None:
        """Move a folder to the evidence (or only say why it failed) without raising an error of our own."""
        slug = re.sub(r"[^A-Za-z0-9_.]+", "-", label).strip("-.") or "unnamed"
        place = self.root / FAILED / step / f"{slug}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        with suppress(OSError):
            notes = _drop_large_files(folder) if files_too else []
            place.parent.mkdir(parents=True, exist_ok=True)
            if files_too and folder.is_dir():
                folder.rename(place)
            place.mkdir(exist_ok=True)
            (place / "reason.txt").write_text("\n".join([text, *notes]) + "\n", errors="replace")
            same = re.compile(re.escape(slug) + r"-\d{8}T\d{6}\.\d{6}Z")
            for old in sorted(p for p in place.parent.iterdir() if same.fullmatch(p.name))[:-_KEPT_FAILURES]:
                shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)

    # Locks and leftovers

    @contextmanager
    def _lock(self, step: str, key: str, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        (self.root / step).mkdir(parents=True, exist_ok=True)
        started, spoken = time.monotonic(), False
        while (descriptor := self._try_lock(step, key)) is None:
            if not spoken and time.monotonic() - started > _SPOKEN_AFTER_SECONDS:
                say("another process does the same step; waiting for it")
                spoken = True
            time.sleep(_WAIT_SECONDS)
        try:
            yield
        finally:
            self._unlock(step, key, descriptor)

    def _lock_file(self, step: str, key: str) -> Path:
        return self.root / step / f".lock-{key[:_KEY_DIGITS]}"

    def _try_lock(self, step: str, key: str) -> int | None:
        path = self._lock_file(step, key)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed the file between our open and our lock.
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None

    def _unlock(self, step: str, key: str, descriptor: int) -> None:
        self._lock_file(step, key).unlink(missing_ok=True)
        os.close(descriptor)

    def _remove_leftovers(self, step: str, held: str) -> None:
        """Remove what killed processes left of this step: the hidden files of keys that nobody holds."""
        leftovers: dict[str, list[Path]] = {}
        for path in (self.root / step).glob(".*"):
            if match := _LEFTOVER.match(path.name):
                leftovers.setdefault(match[1], []).append(path)
        for key, paths in leftovers.items():
            ours = key == held[:_KEY_DIGITS]
            descriptor = None if ours else self._try_lock(step, key)
            for path in paths if ours or descriptor is not None else []:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path != self._lock_file(step, key):
                    path.unlink(missing_ok=True)
            if descriptor is not None:
                self._unlock(step, key, descriptor)


def _figures(figures: Mapping[str, JsonValue], partial: Path) -> dict[str, JsonValue]:
    plain = plain_json(figures, "figures")
    assert isinstance(plain, dict)  # noqa: S101 - a mapping went in
    if str(partial) in json.dumps(plain, ensure_ascii=False):
        raise StepFailedError(
            "a figure holds the path of the temporary folder, which is renamed when the step is finished",
            where=partial,
            remedy="give paths relative to the step's folder",
        )
    return plain


def _drop_large_files(folder: Path) -> list[str]:
    """Remove what is too large to be kept as evidence; return a line for each."""
    notes = []
    for root, _, names in os.walk(folder):
        for path in (Path(root, name) for name in names):
            if (size := path.lstat().st_size) > _EVIDENCE_BYTES:
                path.unlink()
                notes.append(f"{path.relative_to(folder)} ({size} bytes) was too large to be kept")
    return notes
