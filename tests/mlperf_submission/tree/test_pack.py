"""The archive that is handed in: the same bytes for the same tree, and nothing in it that does not belong."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mlperf_submission.errors import TreeError
from mlperf_submission.tree.pack import pack_tree
from mlperf_submission.tree.plan import TreePlan
from mlperf_submission.tree.write import write_tree
from tests.mlperf_submission.validation.sample_later import build_later
from tests.mlperf_submission.validation.sample_submission import Submission


@pytest.fixture
def tin(tmp_path: Path) -> Submission:
    """A sound submission of v6.0: resnet50 in edge."""
    return build_later(tmp_path / "tree", "v6.0", "tin")


def test_the_archive_holds_the_tree_and_the_receipt_says_so(tin: Submission, tmp_path: Path) -> None:
    receipt = pack_tree(tin.root, tmp_path / "out")
    assert receipt.archive == "Acme-v6.0.tar.gz"
    content = (tmp_path / "out" / receipt.archive).read_bytes()
    assert (receipt.size, receipt.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (receipt.systems, receipt.results) == (("closed/Acme/tin",), 3)
    assert (tmp_path / "out" / "Acme-v6.0.tar.gz.json").read_text() == receipt.to_json()
    with tarfile.open(tmp_path / "out" / receipt.archive) as archive:
        archive.extractall(tmp_path / "again", filter="data")
    files = {
        root: {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tin.root, tmp_path / "again")
    }
    assert files[tin.root] == files[tmp_path / "again"]
    assert receipt.files == len(files[tin.root])
    assert receipt.content == sum(map(len, files[tin.root].values()))


def test_the_same_tree_gives_the_same_bytes(tin: Submission, tmp_path: Path) -> None:
    first = pack_tree(tin.root, tmp_path / "first")
    copy = tmp_path / "copy"
    for path in sorted(tin.root.rglob("*"), reverse=True):  # another order, other times and modes
        if path.is_file():
            target = copy / path.relative_to(tin.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o600)
            os.utime(target, (1e9, 1e9))
    second = pack_tree(copy, tmp_path / "second")
    assert first == second
    one, two = (tmp_path / name / first.archive for name in ("first", "second"))
    assert one.read_bytes() == two.read_bytes()


LOG = "closed/Acme/results/tin/resnet50/Offline/accuracy/mlperf_log_accuracy.json"


def _grow(made: Submission, name: str, size: int) -> None:
    made.write(name, "")
    os.truncate(made.root / name, size)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda s: s.delete("closed/Acme/results/tin/resnet50/Offline"), "rule M-05"),
        (lambda s: _grow(s, "closed/Acme/src/big.bin", (50 << 20) + 1), "big.bin: 52428801 bytes"),
        (lambda s: s.write(LOG, "x" * 20_000), "accuracy logs are cut to 10240"),
        (lambda s: s.write("closed/Acme/src/.git/config", ""), "hidden files and caches"),
        (lambda s: s.write("closed/Acme/src/__pycache__/a.pyc", ""), "hidden files and caches"),
        (lambda s: s.write("notes.txt", "mine"), "notes.txt: only the folders of a submitter belong"),
        (lambda s: s.write("closed/Acme/compliance/x/y", "z"), "compliance is none of the folders doc"),
        (lambda s: (s.root / "closed/Acme/src/link").symlink_to("/etc/passwd"), "src/link: a link"),
        (lambda s: s.write("closed/Other/calibration.md", "how"), "rule"),
    ],
)
def test_what_cannot_be_handed_in_is_refused_and_nothing_is_written(
    tin: Submission, tmp_path: Path, spoil: Callable[[Submission], object], reason: str
) -> None:
    spoil(tin)
    with pytest.raises(TreeError) as caught:
        pack_tree(tin.root, tmp_path / "out", round_name="v6.0")
    assert reason in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_rehearsal_is_refused_however_long_its_runs_were(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    write_tree(plan_of(), tmp_path / "tree")
    with pytest.raises(TreeError, match="this is a rehearsal, which is never handed in"):
        pack_tree(tmp_path / "tree", tmp_path / "out")
