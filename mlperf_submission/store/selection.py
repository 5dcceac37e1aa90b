"""Which files of a run a person means: all, a folder, or all that belongs to one benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from mlperf_submission.errors import SettingError
from mlperf_submission.store.manifest import Manifest, ManifestFile

_RECORDS = "records"
_NAMED_AT_MOST = 20


def select_files(manifest: Manifest, only: Sequence[str] | None) -> list[ManifestFile]:
    """Return the files of a run that were asked for, in the order of the manifest.

    Args:
        manifest: of the run.
        only: each a path in the run (a file or a folder: `page`, `engines/resnet50`), else a name of folders
            wherever they lie in it, e.g. a benchmark: `resnet50` is its results, measurements, engine,
            network, evidence, and the records of the steps that were done for it; `resnet50/Offline` is less
            of the same. None for all.

    Raises:
        SettingError: a name means nothing in this run.
    """
    if only is None:
        return list(manifest.files)
    wanted: set[str] = set()
    for name in only:
        meant = _meant(manifest, name.strip("/"))
        if not meant:
            raise SettingError(
                f"run {manifest.run} has no file or folder {name!r}",
                where=f"{manifest.system}/{manifest.run}",
                remedy=f"it has: {', '.join(_known(manifest))}",
            )
        wanted |= meant
    return [file for file in manifest.files if file.path in wanted]


def _meant(manifest: Manifest, name: str) -> set[str]:
    if not name:
        return set()
    at_root = {file.path for file in manifest.files if f"{file.path}/".startswith(f"{name}/")}
    if at_root:
        return at_root
    below = {file.path for file in manifest.files if f"/{name}/" in f"/{file.path}"}
    return below | ({file.path for file in manifest.files if _records(file, name)} if below else set())


def _records(file: ManifestFile, name: str) -> bool:
    """Whether a file is the record of a step that was done for e.g. `resnet50`, or `resnet50/Offline`."""
    label = file.made_by.label if file.made_by else ""
    return file.path.startswith(f"{_RECORDS}/") and f"{label} ".startswith(f"{name.replace('/', ' ')} ")


def _known(manifest: Manifest) -> list[str]:
    """The folders at the top of a run, and the benchmarks that have an engine in it."""
    tops = {file.path.partition("/")[0] for file in manifest.files}
    engines = [file.path.split("/") for file in manifest.files if file.path.startswith("engines/")]
    return [*sorted(tops), *sorted({parts[1] for parts in engines if len(parts) > 2})][:_NAMED_AT_MOST]
