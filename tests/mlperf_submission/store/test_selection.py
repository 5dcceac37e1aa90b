"""What part of a run a name means."""

from __future__ import annotations

import pytest

from mlperf_submission.errors import SettingError
from mlperf_submission.store.manifest import MadeBy, Manifest, ManifestFile
from mlperf_submission.store.selection import select_files
from tests.mlperf_submission.store.stored_runs import info

LABELS = {
    "engines/resnet50/engine.plan": "resnet50 int8",
    "engines/resnet50-like/engine.plan": "resnet50-like int8",
    "evidence/resnet50/Offline/performance/log.txt": "resnet50 Offline",
    "evidence/resnet50/Server/performance/log.txt": "resnet50 Server",
    "page/index.html": "sys",
    "records/performance-0.json": "resnet50 Offline",
    "records/performance-1.json": "resnet50-like Offline",
    "records/quantize-0.json": "resnet50 int8",
    "tree/closed/code/resnet50/page/templates.html": "sys",
    "tree/closed/results/sys/resnet50/Offline/log.txt": "sys",
}
MANIFEST = Manifest(
    **info().model_dump(),
    files=tuple(
        ManifestFile(path=path, size=1, sha256="0" * 64, made_by=MadeBy(step="s", label=label, key="0" * 64))
        for path, label in LABELS.items()
    ),
)


@pytest.mark.parametrize(
    ("only", "left_out"),
    [
        (None, ""),
        (["engines"], "evidence page records tree"),
        (["page"], "engines evidence records tree"),
        (["/tree/", "engines/", "page", "evidence", "records/"], ""),
        (["resnet50"], "resnet50-like page/index performance-1"),
        (["resnet50/Offline"], "engines Server page performance-1 quantize"),
        (["Server", "page/index.html"], "engines Offline records templates"),
        (["resnet50", "resnet50-like", "page"], ""),
    ],
)
def test_a_name_means_a_path_or_else_all_folders_of_that_name(only: list[str] | None, left_out: str) -> None:
    found = [file.path for file in select_files(MANIFEST, only)]
    expected = [path for path in LABELS if not any(word in path for word in left_out.split())]
    assert found == expected


@pytest.mark.parametrize("name", ["", "/", "resnet", "index.html", "..", "int8", "sys2"])
def test_a_name_that_means_nothing_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(SettingError, match="no file or folder") as caught:
        select_files(MANIFEST, [name])
    assert caught.value.remedy == "it has: engines, evidence, page, records, tree, resnet50, resnet50-like"
