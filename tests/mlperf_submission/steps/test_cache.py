"""The cache of finished steps, through `StepCache` and `code_version`."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from mlperf_submission.errors import DiskFullError, SettingError, StepFailedError
from mlperf_submission.steps.cache import StepCache, StepRecord, code_version, step_key
from tests.waiting import PATIENCE

PROJECT = Path(__file__).resolve().parents[3]


def writes(**files: str) -> Callable[[Path], Mapping[str, JsonValue]]:
    """A step that writes these files (`__` stands for a folder) and counts them."""

    def produce(folder: Path) -> Mapping[str, JsonValue]:
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return {"count": len(files)}

    return produce


def never(_: Path) -> Mapping[str, JsonValue]:
    raise AssertionError("the step should have been found finished")


@pytest.fixture
def cache(tmp_path: Path) -> StepCache:
    return StepCache(tmp_path / "cache")


def test_second_run_finds_the_step_finished(cache: StepCache) -> None:
    said: list[str] = []
    first = cache.run("quantize", "resnet50 int8", {"a": 1}, writes(x="1", sub__y="2"), say=said.append)
    second = StepCache(cache.root).run("quantize", "resnet50 int8", {"a": 1}, never, say=said.append)
    assert not first.reused
    assert second.reused
    assert first.figures == second.figures == {"count": 2}
    assert [entry.path for entry in second.files] == ["sub/y", "x"]
    assert second.file("sub/y").read_text() == "2"
    assert first.content_hash == second.content_hash
    assert first.reason == "first time"
    assert "first time" in said[0]
    assert "found finished" in said[1]
    with pytest.raises(KeyError, match="made no file 'z'"):
        second.file("z")


def test_content_hash_follows_names_and_contents_only(cache: StepCache) -> None:
    one = cache.run("s", "l", {"n": 1}, writes(x="1"))
    assert cache.run("s", "l", {"n": 2}, writes(x="1")).content_hash == one.content_hash
    assert cache.run("s", "l", {"n": 3}, writes(x="2")).content_hash != one.content_hash
    assert cache.run("s", "l", {"n": 4}, writes(y="1")).content_hash != one.content_hash


def test_reason_names_what_changed_since_the_newest_step_of_the_label(cache: StepCache) -> None:
    old, new = "a" * 64, "b" * 64
    cache.run("build", "other", {"batch": 1}, writes(x="1"))
    cache.run(
        "build", "l", {"batch": 16, "net": {"hash": old, "gone": 1}, "code_version": old}, writes(x="1")
    )
    inputs: dict[str, JsonValue] = {"batch": 32, "net": {"hash": new, "come": [1]}, "code_version": new}
    why = cache.why("build", "l", inputs)
    assert why == (
        "the code of this step changed, batch: 16 -> 32, net.hash: aaaaaaaaaaaa -> bbbbbbbbbbbb, "
        "net.come: added ([1]), net.gone: removed"
    )
    assert cache.run("build", "l", inputs, writes(x="2")).reason == why


def test_a_long_list_of_changes_is_cut(cache: StepCache) -> None:
    cache.run("package", "l", {f"run{n}": 0 for n in range(9)}, writes(x="1"))
    why = cache.why("package", "l", {f"run{n}": 1 for n in range(9)})
    assert why.startswith("run0: 0 -> 1, ") and why.endswith("run5: 0 -> 1, and 3 more")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "x").write_text("7"), "changed: x"),
        (lambda folder: (folder / "x").write_text("longer"), "changed: x"),
        (lambda folder: (folder / "x").unlink(), "missing: x"),
        (lambda folder: (folder / "new").write_text(""), "extra: new"),
        (lambda folder: (folder / "x").rename(folder / "y"), "missing: x; extra: y"),
        (lambda folder: folder.with_suffix(".json").write_text("{"), "its record cannot be read"),
    ],
)
def test_damaged_step_is_named_kept_as_evidence_and_made_anew(
    cache: StepCache, damage: Callable[[Path], object], named: str
) -> None:
    damage(cache.run("s", "my label", {"n": 1}, writes(x="1")).folder)
    assert cache.find("s", "my label", {"n": 1}) is None
    said: list[str] = []
    again = cache.run("s", "my label", {"n": 1}, writes(x="1"), say=said.append)
    assert not again.reused
    assert named in again.reason
    assert named in said[0]
    (evidence,) = (cache.root / "failed/s").iterdir()
    assert named in (evidence / "reason.txt").read_text()
    assert cache.find("s", "my label", {"n": 1}) is not None


def test_link_in_place_of_a_file_is_damage_even_with_the_same_content(
    cache: StepCache, tmp_path: Path
) -> None:
    record = cache.run("s", "l", {}, writes(x="1"))
    record.file("x").rename(tmp_path / "elsewhere")
    record.file("x").symlink_to(tmp_path / "elsewhere")
    assert cache.find("s", "l", {}) is None


def test_change_of_content_with_size_and_time_kept_is_found_in_the_same_process(cache: StepCache) -> None:
    record = cache.run("s", "l", {}, writes(x="1"))
    assert cache.find("s", "l", {}) is not None
    status = record.file("x").stat()
    time.sleep(0.02)  # the kernel's clock for file times is coarse
    record.file("x").write_text("2")
    os.utime(record.file("x"), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.find("s", "l", {}) is None


def test_sizes_are_enough_for_a_plan(cache: StepCache) -> None:
    record = cache.run("s", "l", {}, writes(x="1"))
    record.file("x").write_text("2")
    assert cache.find("s", "l", {}, sizes_only=True) is not None
    record.file("x").unlink()
    assert cache.find("s", "l", {}, sizes_only=True) is None


def test_tampered_inputs_in_a_record_are_not_believed(cache: StepCache) -> None:
    record = cache.run("s", "l", {"n": 1}, writes(x="1"))
    path = record.folder.with_suffix(".json")
    path.write_text(path.read_text().replace('"n": 1', '"n": 2'))
    assert cache.find("s", "l", {"n": 1}) is None
    assert list(cache.records()) == []


def test_work_folder_may_be_moved(cache: StepCache, tmp_path: Path) -> None:
    cache.run("s", "l", {"n": 1}, writes(x="1"))
    cache.root.rename(tmp_path / "moved")
    record = StepCache(tmp_path / "moved").run("s", "l", {"n": 1}, never)
    assert record.file("x").read_text() == "1"


def test_failure_leaves_evidence_and_goes_on_unchanged(cache: StepCache) -> None:
    error = ValueError("of the step")

    def fail(folder: Path) -> Mapping[str, JsonValue]:
        (folder / "half").write_text("written")
        raise error

    for _ in range(7):
        with pytest.raises(ValueError, match="of the step") as caught:
            cache.run("s", "a/b: ü", {}, fail)
        assert caught.value is error
    kept = list((cache.root / "failed/s").iterdir())
    assert len(kept) == 5
    assert all((folder / "half").read_text() == "written" for folder in kept)
    assert all("of the step" in (folder / "reason.txt").read_text() for folder in kept)
    assert [path.name for path in (cache.root / "s").iterdir()] == []
    assert not cache.run("s", "a/b: ü", {}, writes(x="1")).reused


def test_evidence_of_another_label_is_not_pruned(cache: StepCache) -> None:
    def fail(_: Path) -> Mapping[str, JsonValue]:
        raise ValueError

    for label in ["resnet50", *["resnet50 int8"] * 6]:
        with pytest.raises(ValueError):
            cache.run("s", label, {}, fail)
    assert len(list((cache.root / "failed/s").iterdir())) == 6


def test_full_disk_is_named_and_leaves_nothing_half_done(cache: StepCache) -> None:
    def fill(folder: Path) -> Mapping[str, JsonValue]:
        (folder / "half").write_text("written")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskFullError, match="disk is full"):
        cache.run("s", "l", {}, fill)
    assert [path.name for path in cache.root.rglob("*") if path.is_file()] == ["reason.txt"]


def test_step_that_writes_a_link_is_refused(cache: StepCache) -> None:
    def link(folder: Path) -> Mapping[str, JsonValue]:
        (folder / "x").symlink_to("/etc/hostname")
        return {}

    with pytest.raises(StepFailedError, match="'x' is a link"):
        cache.run("s", "l", {}, link)


def test_figure_with_the_temporary_path_is_refused(cache: StepCache) -> None:
    with pytest.raises(StepFailedError, match="temporary folder"):
        cache.run("s", "l", {}, lambda folder: {"engine": str(folder / "x")})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", Path("x"), {1: 2}, "\ud800"])
def test_value_that_json_cannot_hold_is_refused_with_its_place(cache: StepCache, value: object) -> None:
    with pytest.raises(SettingError, match=r"inputs of s\.deep\.list\[1\]"):
        cache.run("s", "l", {"deep": {"list": [0, value]}}, writes())  # type: ignore[list-item]
    with pytest.raises(SettingError, match=r"figures\.x"):
        cache.run("s", "l", {}, lambda _: {"x": value})  # type: ignore[dict-item]


@pytest.mark.parametrize("step", ["", "failed", "a/b", "..", ".x", "1"])
def test_step_name_must_be_a_folder_name(cache: StepCache, step: str) -> None:
    with pytest.raises(SettingError, match="name of a step"):
        cache.run(step, "l", {}, writes())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.randoms(use_true_random=False))
def test_key_does_not_depend_on_order_and_survives_json(
    inputs: dict[str, JsonValue], rng: random.Random
) -> None:
    names = list(inputs)
    rng.shuffle(names)
    assert step_key("s", inputs) == step_key("s", {name: inputs[name] for name in names})
    assert step_key("s", inputs) == step_key("s", json.loads(json.dumps(inputs)))


@given(st.dictionaries(st.text(), JSON, max_size=3), st.dictionaries(st.text(), JSON, max_size=3))
def test_keys_are_equal_exactly_if_the_inputs_are(
    one: dict[str, JsonValue], two: dict[str, JsonValue]
) -> None:
    assert (step_key("s", one) == step_key("s", two)) == (
        json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    )


def test_string_enumerations_and_tuples_mean_their_values() -> None:
    kind = StrEnum("kind", {"FAST": "fast"})
    assert step_key("s", {"k": kind.FAST, "t": (1, 2)}) == step_key("s", {"k": "fast", "t": [1, 2]})  # type: ignore[dict-item]


def test_records_and_remove(cache: StepCache) -> None:
    made = [cache.run(step, "l", {"n": n}, writes(x="1")) for step in ("a", "b") for n in (1, 2)]
    assert sorted(record.key for record in cache.records()) == sorted(record.key for record in made)
    cache.remove(made[0])
    assert not made[0].folder.exists()
    assert cache.find("a", "l", {"n": 1}) is None
    assert len(list(cache.records())) == 3


def test_two_threads_do_the_same_step_once(cache: StepCache) -> None:
    calls: list[int] = []
    records: list[StepRecord] = []

    def slow(folder: Path) -> Mapping[str, JsonValue]:
        calls.append(1)
        time.sleep(0.3)
        return writes(x="1")(folder)

    threads = [
        threading.Thread(target=lambda: records.append(cache.run("s", "l", {}, slow))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert sorted(record.reused for record in records) == [False, True, True]
    assert sorted(path.suffix for path in (cache.root / "s").iterdir()) == ["", ".json"]


WORK = """
import sys, time
from pathlib import Path
from mlperf_submission.steps.cache import StepCache

def produce(folder):
    Path(sys.argv[2]).open("a").write("made\\n")
    print("started", flush=True)
    for number in range(40):
        (folder / f"{number:03}").write_bytes(bytes([number]) * 50_000)
        time.sleep(float(sys.argv[3]))
    return {"count": 40}

record = StepCache(Path(sys.argv[1])).run("s", "l", {"n": 1}, produce)
assert len(record.files) == 40 and record.figures == {"count": 40}
print("finished", flush=True)
"""


def start(root: Path, calls: Path, pause: float) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WORK, str(root), str(calls), str(pause)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=PROJECT)


@pytest.mark.parametrize("seed", range(6))
def test_kill_at_any_moment_leaves_nothing_that_passes_for_finished(tmp_path: Path, seed: int) -> None:
    root, calls = tmp_path / "cache", tmp_path / "calls"
    # Three are killed among the files, three while hashing, renaming and recording.
    pause, wait = (0.005, random.Random(seed).uniform(0, 0.2)) if seed % 2 else (0, 0.006 * seed)
    victim = start(root, calls, pause)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "started\n"
    time.sleep(wait)
    victim.send_signal(signal.SIGKILL)
    finished = "finished" in victim.communicate()[0]
    recorded = list((root / "s").glob("*.json"))
    if recorded:
        assert StepCache(root).find("s", "l", {"n": 1}) is not None
    else:
        assert not finished
        assert StepCache(root).find("s", "l", {"n": 1}) is None

    output, _ = start(root, calls, 0).communicate(timeout=PATIENCE)
    assert output.endswith("finished\n")
    assert len(calls.read_text().splitlines()) == (1 if recorded else 2)
    assert sorted(path.suffix for path in (root / "s").iterdir()) == ["", ".json"]
    assert StepCache(root).find("s", "l", {"n": 1}) is not None


def test_leftovers_of_another_key_go_and_those_of_a_living_process_stay(cache: StepCache) -> None:
    inside, leave = threading.Event(), threading.Event()

    def wait(folder: Path) -> Mapping[str, JsonValue]:
        inside.set()
        leave.wait(10)
        return writes(x="1")(folder)

    living = threading.Thread(target=lambda: cache.run("s", "l", {"n": 1}, wait))
    living.start()
    inside.wait(10)
    dead = cache.root / "s/.partial-0123456789ab-999999"
    dead.mkdir()
    (cache.root / "s/.0123456789abcdef.json.xyz.tmp").write_text("half")
    cache.run("s", "l", {"n": 2}, writes(x="1"))
    hidden = [path.name for path in (cache.root / "s").iterdir() if path.name.startswith(".partial")]
    assert hidden == [f".partial-{step_key('s', {'n': 1})[:12]}-{os.getpid()}"]
    leave.set()
    living.join()
    assert not [path for path in (cache.root / "s").iterdir() if path.name.startswith(".")]
    assert cache.find("s", "l", {"n": 1}) is not None


# The version of a step's code


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "models/__init__.py": "",
        "models/one.py": "from mlperf_submission import files\n\n"
        "def f():\n    from mlperf_submission.rounds import x\n",
        "models/two.py": "from . import one\n",
        "models/other.py": "",
        "mlperf_submission/__init__.py": "",
        "mlperf_submission/files.py": "import os\n",
        "mlperf_submission/rounds.py": "x = 1\n",
        "mlperf_submission/harness/__init__.py": "",
        "mlperf_submission/harness/run.py": 'CHILD = "mlperf_submission.harness.child"\n',
        "mlperf_submission/harness/child.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("module", "edited", "changes"),
    [
        ("models.one", "models/one.py", True),
        ("models.one", "mlperf_submission/files.py", True),
        ("models.one", "mlperf_submission/rounds.py", True),  # imported inside a function
        ("models.one", "models/__init__.py", True),  # runs on import
        ("models.one", "models/other.py", False),
        ("models.one", "models/two.py", False),
        ("models.two", "mlperf_submission/rounds.py", True),  # through a relative import
        ("mlperf_submission.harness.run", "mlperf_submission/harness/child.py", True),  # started by its name
    ],
)
def test_code_version_follows_the_imports(
    project: Path, tmp_path: Path, module: str, edited: str, changes: bool
) -> None:
    before = code_version(module, project=project)
    copy = project.rename(tmp_path / "copy")
    assert code_version(module, project=copy) == before
    edited_copy = copy.rename(tmp_path / "edited")
    (edited_copy / edited).write_text("# edited\n" + (edited_copy / edited).read_text())
    assert (code_version(module, project=edited_copy) != before) == changes


def test_code_version_does_not_depend_on_the_order_of_modules(project: Path) -> None:
    one, two = "models.one", "mlperf_submission.harness.run"
    assert code_version(one, two, project=project) == code_version(two, one, project=project)


def test_code_version_of_an_unknown_module_is_refused() -> None:
    with pytest.raises(SettingError, match=r"no module 'models\.nothing'"):
        code_version("models.nothing")


def test_code_version_of_our_own_code() -> None:
    assert code_version("mlperf_submission.steps.cache") != code_version("mlperf_submission.steps.code")
