"""Nothing in a tree makes the validation fail: whatever it holds becomes a verdict."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlperf_submission.validation import Verdict, validate_tree
from tests.mlperf_submission.validation.sample_submission import BOX, Submission, build, detail_line

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
    assert not verdict.ok or all(one.ok for one in verdict.results)
    assert all(one.value is not None and 0 < one.value < math.inf for one in verdict.results if one.ok)
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


DIGITS = "1" * 5000
BAD_FILES = {
    "number of 5,000 digits in a performance log": (
        f"{BOX}/performance/run_1/mlperf_log_detail.txt",
        detail_line("result_samples_per_second", "NUMBER").replace('"NUMBER"', DIGITS),
        "P-13",
    ),
    "number of 5,000 digits in an accuracy log": (
        f"{BOX}/accuracy/mlperf_log_detail.txt",
        detail_line("effective_target_qps", "NUMBER").replace('"NUMBER"', DIGITS),
        "A-10",
    ),
    "number of 5,000 digits in accuracy.txt": (
        f"{BOX}/accuracy/accuracy.txt",
        f"accuracy={DIGITS}.{DIGITS}.1",
        "A-04",
    ),
    "number of 5,000 digits in measurements": (
        f"{BOX.replace('results', 'measurements')}/box_Offline.json",
        f'{{"retraining": {DIGITS}}}',
        "E-08",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_one_bad_file_costs_its_own_result_and_is_named(box: Submission, name: str) -> None:
    path, text, rule = BAD_FILES[name]
    box.write(path, text + "\n")
    verdict = judged(box.root)
    assert rule in {failure.rule for failure in verdict.errors}
    assert {failure.path for failure in verdict.errors} <= {path, BOX}
    assert {one.scenario: one.ok for one in verdict.results} == {"Offline": False, "Server": True}


@pytest.mark.parametrize("value", [DIGITS, f"0x{DIGITS}", f"1e{DIGITS}", f"-{DIGITS}.{DIGITS}"])
@pytest.mark.parametrize("key", ["target_qps", "min_duration", "min_query_count", "sample_index_rng_seed"])
def test_numbers_of_any_length_in_a_conf_file_cost_a_warning_at_most(
    box: Submission, key: str, value: str
) -> None:
    for name in ("user.conf", "mlperf.conf"):
        box.append(f"{BOX.replace('results', 'measurements')}/{name}", f"\n*.Offline.{key} = {value}\n")
    verdict = judged(box.root)
    assert verdict.ok
    assert all(len(failure.message) < 1000 for failure in verdict.failures)


SHOWN = {
    "abc \\ud83d": "abc \\ud83d",
    "\\udcff": "\\xff",
    "a\\u0000b": "a\\x00b",
    "\\u202e": "\\u202e",
    "\\u202f": "\u202f",  # a narrow blank is a blank
}


@pytest.mark.parametrize("text", SHOWN)
def test_text_that_no_encoding_knows_is_shown_escaped(box: Submission, text: str) -> None:
    path = "closed/Acme/systems/box.json"
    box.write(path, box.read(path).replace('"system_name": "some"', f'"system_name": "{text}"'))
    verdict = judged(box.root)
    assert verdict.ok
    row = next(csv.DictReader(io.StringIO(verdict.to_csv())))
    assert row["SystemName"] == SHOWN[text]


@pytest.mark.parametrize("formula", ["=HYPERLINK(1)", "@SUM(A1)", "+cmd", "-cmd|x", "\t=1"])
def test_no_cell_of_the_csv_is_a_formula(box: Submission, formula: str) -> None:
    box.json("closed/Acme/systems/box.json", system_name=formula, accelerators_per_node="-1", cooling="-")
    row = next(csv.DictReader(io.StringIO(judged(box.root).to_csv())))
    assert row["SystemName"][0] in "'\\"
    assert row["accelerators_per_node"] == "-1"


def test_folder_that_is_no_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("localhost")
    (tmp_path / "etc").mkdir()
    (tmp_path / "half" / "closed" / "Acme" / "results").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "etc", tmp_path / "half"):
        verdict = judged(folder)
        assert "+nothing-to-check" in {failure.rule for failure in verdict.errors}
        assert "refused" in verdict.summary()


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
    from mlperf_submission.validation import read_tree

    field_rows = read_tree.field_rows

    def and_gone(content: dict[str, object], needs_network: bool) -> list[dict[str, object]]:
        if (box.root / BOX).exists():
            box.delete(BOX)
        return field_rows(content, needs_network)

    monkeypatch.setattr(read_tree, "field_rows", and_gone)
    assert not judged(box.root).ok


def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    tree = build(tmp_path / "tree", "box")
    locked = [tree.root / BOX / "accuracy", tree.root / "closed/Acme/systems/box.json"]
    for path in locked:
        path.chmod(0)
    # Root reads everything, so it becomes nobody; only then, since the interpreter may lie in its home.
    code = (
        "import os, sys; from pathlib import Path; "
        "from mlperf_submission.validation import validate_tree as v; "
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
        "import re, sys; from pathlib import Path; "
        "from mlperf_submission.validation import validate_tree as v; "
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
