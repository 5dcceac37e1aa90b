"""The archive that is handed in: one `.tar.gz` of a tree, made only if the rules of its round accept it.

The same tree gives the same bytes: names are sorted, and times, owners and modes are the same for all.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mlperf_submission.errors import TreeError
from mlperf_submission.files import disk_full_named, files_below, sha256_of, write_atomic, written_whole
from mlperf_submission.rounds import Round, get_round
from mlperf_submission.submission.accuracy import SMALL_BYTES
from mlperf_submission.submission.files import ACCURACY_LOG, DIVISIONS, LARGEST_FILE, Tree
from mlperf_submission.submission.round import round_of
from mlperf_submission.text import listed
from mlperf_submission.tree.plan import REHEARSAL
from mlperf_submission.validation import Verdict, validate_tree

LARGEST_ARCHIVE = 50 * 10**9
"""Bytes that the submission page of MLCommons takes at most."""
_LEVEL = 9
_BLOCK = 1 << 20
_MODE = 0o644


class Receipt(BaseModel):
    """What was packed, to be compared with what the submission page says that it received.

    Attributes:
        archive: name of the file.
        sha256: of the archive, hexadecimal.
        size: bytes of the archive.
        files: how many files it holds, of `content` bytes.
        systems: `<division>/<submitter>/<system>` of each.
        results: how many results it has.
        runs: the published runs that it was made of, if it was made of such.
    """

    model_config = ConfigDict(frozen=True)
    archive: str
    sha256: str
    size: int
    files: int
    content: int
    round: str
    submitter: str
    systems: tuple[str, ...]
    results: int
    runs: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"


def pack_tree(
    tree: Path,
    out: Path,
    *,
    round_name: str | None = None,
    runs: Sequence[str] = (),
) -> Receipt:
    """Write `<submitter>-<round>.tar.gz` and its receipt, `….json`, into a folder.

    Args:
        tree: the root of the tree; it holds `closed/`, `open/` or `network/`.
        out: the folder; made if it is missing. An archive of the same name is replaced once the new one is
            whole.
        round_name: the round; None: it is read from the logs.
        runs: for the receipt.

    Raises:
        TreeError: the tree is a rehearsal, is refused by the rules, holds what does not belong there, or is
            too large; everything is named, and nothing was written.
        SettingError: the round is unknown.
        DiskFullError: there is not enough space.
    """
    round_ = get_round(round_name or round_of(tree))
    files = sorted(path.relative_to(tree).as_posix() for path in files_below(tree))
    _refuse([*_rehearsals(tree, files), *_unfit(tree, files, round_)], tree)
    verdict = validate_tree(tree, round_.name)
    if not verdict.ok:
        broken = [f"{one.path}: {one.message} (rule {one.rule})" for one in verdict.errors]
        _refuse(broken, tree, f"{verdict.summary()}; mlperf-submission validate {tree} shows all of it")
    submitters = sorted({name.split("/")[1] for name in files})
    if len(submitters) != 1:
        _refuse([f"an archive is of one submitter, not of {', '.join(submitters)}"], tree)
    place = out / f"{submitters[0]}-{round_.name}.tar.gz"
    out.mkdir(parents=True, exist_ok=True)
    with disk_full_named(out):
        content = _write(tree, files, place)
        receipt = Receipt(
            archive=place.name,
            sha256=sha256_of(place),
            size=place.stat().st_size,
            files=len(files),
            content=content,
            round=round_.name,
            submitter=submitters[0],
            systems=_systems(verdict),
            results=len(verdict.results),
            runs=tuple(runs),
        )
        write_atomic(out / f"{place.name}.json", receipt.to_json())
    return receipt


def _refuse(reasons: Sequence[str], tree: Path, remedy: str = "mend what is named, and pack again") -> None:
    if not reasons:
        return
    raise TreeError(
        f"{len(reasons)} reasons against handing this in:{listed(reasons)}",
        where=tree,
        remedy=remedy,
        code="not-handed-in",
    )


def _rehearsals(tree: Path, files: Sequence[str]) -> Iterator[str]:
    """Name the systems that say of themselves that they are rehearsals: they are never handed in."""
    source = Tree(tree, links_out=False)
    for name in files:
        if re.fullmatch(r"[^/]+/[^/]+/systems/[^/]+\.json", name) and REHEARSAL in source.text(name).content:
            yield f"{name}: this is a rehearsal, which is never handed in"


def _unfit(tree: Path, files: Sequence[str], round_: Round) -> Iterator[str]:
    """Name what does not belong into an archive, or is too large for one."""
    rooms = map(round_.room, ("results", "measurements", "compliance"))
    folders = {"systems", "documentation", round_.source_folder, *rooms}
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield f"{name}: a link or a special file cannot be handed in"
    for name in files:
        parts = name.split("/")
        size = os.path.getsize(tree / name)  # noqa: PTH202 - names may be no UTF-8
        if parts[0] not in DIVISIONS or len(parts) < 3:
            yield f"{name}: only the folders of a submitter belong into an archive"
        elif len(parts) > 3 and parts[2] not in folders:
            yield f"{name}: {parts[2]} is none of the folders {', '.join(sorted(folders))}"
        if any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield f"{name}: hidden files and caches do not belong into an archive"
        if size > LARGEST_FILE:
            yield f"{name}: {size} bytes; files of more than {LARGEST_FILE} are refused"
        if parts[-1] == ACCURACY_LOG and size > SMALL_BYTES:
            yield f"{name}: {size} bytes; accuracy logs are cut to {SMALL_BYTES}, the hash stays"
    total = sum(os.path.getsize(tree / name) for name in files)  # noqa: PTH202
    if total > LARGEST_ARCHIVE:
        yield f"the tree has {total} bytes; more than {LARGEST_ARCHIVE} are not taken"


def _systems(verdict: Verdict) -> tuple[str, ...]:
    return tuple(sorted({f"{one.division}/{one.submitter}/{one.system}" for one in verdict.results}))


def _write(tree: Path, files: Sequence[str], place: Path) -> int:
    """Write the archive; return the bytes that it holds."""
    content = 0
    with (
        written_whole(place) as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as archive,
    ):
        for name in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = (tree / name).stat().st_size, _MODE, 0
            with (tree / name).open("rb") as source:
                archive.addfile(entry, source)
            content += entry.size
    return content
