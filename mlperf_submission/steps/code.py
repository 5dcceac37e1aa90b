"""The version of a step's code: a hash of the source files that it may run."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mlperf_submission.errors import SettingError

_PROJECT = Path(__file__).resolve().parents[2]
_ROOMS = frozenset({"cli", "flows", "mlperf_submission", "models", "tasks"})
_MODULE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@cache
def code_version(*modules: str, project: Path = _PROJECT) -> str:
    """Return the SHA-256 of the source of these modules and of every module of ours that they import.

    Sources are read, not imported, so this costs no heavy import. A module whose full name stands in a string
    counts too: that is how child processes are started. Data files are not seen; they belong to the inputs.

    Args:
        modules: dotted names, in any order.
        project: the folder that holds our packages.

    Raises:
        SettingError: there is no such module, or a source file is no Python.
    """
    waiting = {*modules}
    for module in modules:
        waiting.update(name for name in _with_parents(module) if _source_file(project, name))
    found: dict[str, _Module] = {}
    while waiting:
        name = waiting.pop()
        found[name] = _read(project, name)
        waiting |= found[name].imports - found.keys()
    listing = "".join(f"{name} {found[name].sha256}\n" for name in sorted(found))
    return hashlib.sha256(listing.encode()).hexdigest()


@dataclass(frozen=True)
class _Module:
    sha256: str
    imports: frozenset[str]


@cache
def _read(project: Path, name: str) -> _Module:
    path = _source_file(project, name)
    if path is None:
        raise SettingError(
            f"there is no module {name!r}",
            where=project,
            remedy="name modules of this project, with dots, e.g. models.resnet50.data",
        )
    source = path.read_bytes()
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise SettingError(
            f"this is no Python: {error}", where=path, remedy="mend the source file"
        ) from error
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    imports = {
        module
        for mentioned in _mentioned(tree, package)
        if mentioned.partition(".")[0] in _ROOMS and _source_file(project, mentioned)
        for module in _with_parents(mentioned)
        if _source_file(project, module)
    }
    return _Module(hashlib.sha256(source).hexdigest(), frozenset(imports))


def _mentioned(tree: ast.AST, package: list[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and _MODULE_NAME.fullmatch(str(node.value)):
            yield str(node.value)


def _with_parents(name: str) -> list[str]:
    """Importing a.b.c runs a, a.b and a.b.c."""
    parts = name.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


@cache
def _source_file(project: Path, name: str) -> Path | None:
    place = project.joinpath(*name.split("."))
    for path in (place / "__init__.py", place.with_name(place.name + ".py")):
        if path.is_file():
            return path
    return None
