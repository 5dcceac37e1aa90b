"""The rooms import only what docs/architecture.md allows, and the measuring child stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

ALLOWED = {
    "common": {"common"},
    "mlperf": {"mlperf", "common"},
    "storage": {"storage", "common"},
    "models": {"models", "common"},
    "harness": {"harness", "common", "models", "mlperf"},
    "tools": {"tools", "common", "models"},
    "tasks": {"tasks", "common", "models", "harness", "mlperf", "storage"},
    "deployments": {"deployments", "common"},
    "flows": {"flows", "tasks", "common", "models", "harness", "mlperf", "storage"},
}
HEAVY = ("prefect", "boto3", "botocore", "torch")
MEASURED_PATH = [
    "harness.child",
    "harness.sut",
    "harness.verdict",
    "harness.backends.onnxruntime",
    "harness.backends.tensorrt",
    "harness.backends.tensorrt_build",
    "models.registry",
]


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level names that a file imports, at its top or anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    ours = set(ALLOWED) | {"tests", "benchmarks", "tools"}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imported(path)
        if (name in ours and name not in ALLOWED[room])
        or (name == "prefect" and room not in ("tasks", "flows", "deployments"))
        or (name == "torch" and room != "tools")
    }
    assert wrong == set()


def test_common_needs_nothing_but_python() -> None:
    names = {name for path in (ROOT / "common").glob("*.py") for name in imported(path)}
    assert names - {"common"} <= set(sys.stdlib_module_names)


def test_the_measuring_child_loads_neither_prefect_nor_boto3() -> None:
    script = (
        f"import sys, {', '.join(MEASURED_PATH)}\nprint([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
