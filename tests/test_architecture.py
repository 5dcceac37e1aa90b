"""The rooms import only downwards (docs/architecture.md), and the measuring child stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

LIBRARY = "mlperf_submission"
ORDER = (
    "cli",
    "flows",
    "tasks",
    "models",
    f"{LIBRARY}.config",
    f"{LIBRARY}.page",
    f"{LIBRARY}.tree",
    f"{LIBRARY}.validation",
    f"{LIBRARY}.harness",
    f"{LIBRARY}.compliance",
    f"{LIBRARY}.description",
    f"{LIBRARY}.network",
    f"{LIBRARY}.images",
    f"{LIBRARY}.submission",
    f"{LIBRARY}.benchmark",
    f"{LIBRARY}.rounds",
    f"{LIBRARY}.steps",
    f"{LIBRARY}.fetch",
    f"{LIBRARY}.store",
    LIBRARY,
)
"""The rooms from the top down, the loose files of the library last. Imports run down, or stay in the room."""

UP = {
    ("mlperf_submission.harness.backends.onnxruntime", "models.network.state"),
    ("mlperf_submission.harness.backends.tensorrt.build", "models.network.checks"),
    ("mlperf_submission.harness.backends.tensorrt.stream", "models.network.state"),
    ("mlperf_submission.harness.child", "models.registry"),
    ("mlperf_submission.store.manifest", "mlperf_submission.steps.hashing"),
    ("mlperf_submission.store.restore", "mlperf_submission.steps.hashing"),
}
"""Arrows that still run up: (importing module, imported module). The list only becomes shorter."""

HEAVY = ("prefect", "boto3", "botocore", "torch")
MEASURED_PATH = [
    f"{LIBRARY}.harness.child",
    f"{LIBRARY}.harness.sut",
    f"{LIBRARY}.harness.verdict",
    f"{LIBRARY}.harness.backends.onnxruntime",
    f"{LIBRARY}.harness.backends.tensorrt.backend",
    f"{LIBRARY}.harness.backends.tensorrt.build",
    "models.registry",
]


def sources() -> dict[str, Path]:
    """Return the shipped modules by name."""
    tops = dict.fromkeys(room.partition(".")[0] for room in ORDER)
    paths = [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


def imported(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the modules that a file imports, at its top or anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def floor(module: str) -> int | None:
    """Return the place of a module's room in the order; None for what is not ours."""
    for place, room in enumerate(ORDER):
        if module == room or module.startswith(f"{room}."):
            return place
    return None


def arrows_up() -> set[tuple[str, str]]:
    """Return (importing module, imported module) of every import against the order."""
    modules = sources()
    found: set[tuple[str, str]] = set()
    for module, path in modules.items():
        here = floor(module)
        for other in imported(path, modules):
            there = floor(other)
            if here is not None and there is not None and there < here:
                found.add((module, other))
    return found


# Tests


def test_rooms_import_only_downwards() -> None:
    found = arrows_up()
    assert found - UP == set(), "these imports run up"
    assert set(UP) - found == set(), "these run up no more: take them off the list"


def test_every_folder_of_the_library_has_its_place_in_the_order() -> None:
    folders = {path.parent.name for path in (ROOT / LIBRARY).glob("*/*.py")}
    assert folders <= {room.removeprefix(f"{LIBRARY}.") for room in ORDER}


def test_nothing_shipped_imports_what_is_not_shipped() -> None:
    modules = sources()
    wrong = {
        f"{module} imports {other}"
        for module, path in modules.items()
        for other in imported(path, modules)
        if other.partition(".")[0] in ("tools", "tests", "deployments")
    }
    assert wrong == set()


@pytest.mark.parametrize(
    ("library", "allowed"), [("prefect", ("cli", "flows", "tasks")), ("torch", ("models.training",))]
)
def test_a_heavy_library_stays_in_its_rooms(library: str, allowed: tuple[str, ...]) -> None:
    modules = sources()
    wrong = {
        module
        for module, path in modules.items()
        for other in imported(path, modules)
        if other.partition(".")[0] == library
        and not module.startswith(allowed)
        and not path.name.startswith("train_")
    }
    assert wrong == set()


def test_the_loose_files_of_the_library_need_nothing_but_python_and_yaml() -> None:
    modules = sources()
    paths = (ROOT / LIBRARY).glob("*.py")
    names = {name.partition(".")[0] for path in paths for name in imported(path, modules)}
    assert names - {LIBRARY, "yaml"} <= set(sys.stdlib_module_names)


def test_the_measuring_child_loads_neither_prefect_nor_boto3() -> None:
    script = (
        f"import sys, {', '.join(MEASURED_PATH)}\nprint([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
