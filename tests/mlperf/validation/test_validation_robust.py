"""Nothing in a tree makes the validation fail: whatever it holds becomes a verdict."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlperf.validation import Verdict, validate_tree
from tests.mlperf.validation.sample_submission import BOX, Submission, build

ODD_FILES = (
    "closed/Acme/systems/box.json",
    f"{BOX}/performance/run_1/mlperf_log_detail.txt",
    f"{BOX}/performance/run_1/mlperf_log_summary.txt",
    f"{BOX}/accuracy/accuracy.txt",
    f"{BOX}/accuracy/mlperf_log_detail.txt",
    f"{BOX.replace('results', 'measurements')}/user.conf",
    f"{BOX.replace('results', 'measurements')}/box_Offline.json",
    f"{BOX.replace('results', 'compliance')}/TEST01/verify_accuracy.txt",
    f"{BOX.replace('results', 'compliance')}/TEST01/performance/run_1/mlperf_log_detail.txt",
    "closed/Acme/code/resnet50/README.md",
)


def judged(root: Path) -> Verdict:
    """Return the verdict, having used every form of it."""
    verdict = validate_tree(root, "v4.1")
    verdict.to_json().encode("utf-8")
    verdict.to_csv().encode("utf-8")
    assert verdict.ok == (not verdict.errors)
    return verdict


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Submission:
    return build(tmp_path_factory.mktemp("robust") / "tree", "box")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ODD_FILES), st.binary(max_size=200), st.booleans())
def test_any_bytes_in_any_file(shared: Submission, path: str, content: bytes, keep: bool) -> None:
    before = (shared.root / path).read_bytes()
    half = before[: len(before) // 2] if keep else b""
    try:
        shared.write(path, half + content)
        judged(shared.root)
    finally:
        shared.write(path, before)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
LOG_KEYS = (
    "effective_scenario",
    "result_samples_per_second",
    "effective_min_duration_ms",
    "effective_qsl_rng_seed",
    "effective_samples_per_query",
    "result_validity",
    "sut_name",
    "power_begin",
    "test_datetime",
    "effective_test_mode",
    "early_stopping_met",
    "effective_target_qps",
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(LOG_KEYS), json_values, min_size=1, max_size=3))
def test_any_value_in_a_log(shared: Submission, changes: dict[str, object]) -> None:
    run = f"{BOX}/performance/run_1"
    before = shared.read(f"{run}/mlperf_log_detail.txt")
    try:
        shared.log(run, **changes)
        judged(shared.root)
    finally:
        shared.write(f"{run}/mlperf_log_detail.txt", before)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["status", "system_type", "is_network", "hw_notes", "division"]), json_values
    )
)
def test_any_value_in_a_system(shared: Submission, changes: dict[str, object]) -> None:
    path = "closed/Acme/systems/box.json"
    before = shared.read(path)
    try:
        shared.json(
            path, **{key: value for key, value in changes.items() if value is not None and value == value}
        )
        judged(shared.root)
    finally:
        shared.write(path, before)


@pytest.mark.parametrize("name", ["a\nb", "a b", "\udcff", "\x1b[31m", "ü", "--help", 'a,b"c'])
def test_odd_names_everywhere(box: Submission, name: str) -> None:
    for path in ("closed/Acme/code", "closed/Acme/results", "closed", BOX.rsplit("/", 2)[0]):
        folder = Path(os.fsdecode(os.fsencode(box.root / path / name)))
        folder.mkdir()
        (folder / "x").write_text("x")
    shutil.copytree(
        box.root / "closed/Acme/results/box", box.root / "closed/Acme/results" / name, dirs_exist_ok=True
    )
    verdict = judged(box.root)
    assert all(failure.path.isprintable() and failure.message.isprintable() for failure in verdict.failures)


def test_loops_of_links_and_pipes(box: Submission) -> None:
    (box.root / "closed/Acme/results/loop").symlink_to(".")
    (box.root / "closed/Acme/code/self").symlink_to("self")
    box.delete(f"{BOX}/accuracy/accuracy.txt")
    os.mkfifo(box.root / f"{BOX}/accuracy/accuracy.txt")
    os.mkfifo(box.root / "closed/Acme/code/pipe")
    assert not judged(box.root).ok


def test_folders_where_files_are_expected(box: Submission) -> None:
    for path in ODD_FILES:
        box.delete(path)
        (box.root / path).mkdir()
    assert not judged(box.root).ok


def test_file_that_vanishes_while_the_tree_is_read(box: Submission, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlperf.validation import read_tree
    from mlperf.validation.rows_system import system_row as listed

    def and_gone(*arguments: object) -> object:
        if (box.root / BOX).exists():
            box.delete(BOX)
        return listed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(read_tree, "system_row", and_gone)
    assert not judged(box.root).ok


def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    tree = build(tmp_path / "tree", "box")
    locked = [tree.root / BOX / "accuracy", tree.root / "closed/Acme/systems/box.json"]
    for path in locked:
        path.chmod(0)
    # Root reads everything, so it becomes nobody; only then, since the interpreter may lie in its home.
    code = (
        "import os, sys; from pathlib import Path; from mlperf.validation import validate_tree as v; "
        "tree = Path(sys.argv[1]); v(tree, 'v4.1'); "
        "os.geteuid() or (os.setgroups([]), os.setuid(65534)); "
        "print(sorted({f.rule for f in v(tree, 'v4.1').errors}))"
    )
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and folder.stat().st_uid == os.getuid() and "pytest" in str(folder):
            folder.chmod(0o755)
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tree.root)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    for path in locked:
        path.chmod(0o755)
    assert "'Y-02'" in shown.stdout, shown.stderr
    assert "'A-06'" in shown.stdout or "'A-04'" in shown.stdout


def test_log_of_gigabytes_needs_no_memory(box: Submission) -> None:
    path = box.root / BOX / "performance/run_1/mlperf_log_detail.txt"
    with path.open("ab") as stream:
        stream.truncate(stream.tell() + (1 << 30))  # one line of zeros, sparse on disk
    code = (
        "import re, sys; from pathlib import Path; from mlperf.validation import validate_tree as v; "
        "v(Path(sys.argv[1]), 'v4.1'); status = Path('/proc/self/status').read_text(); "
        "print(int(re.search('VmHWM:[^0-9]*([0-9]+)', status)[1]) // 1024)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(box.root)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert int(run.stdout) < 400
