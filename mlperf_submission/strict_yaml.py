"""YAML as it is meant: the core schema of YAML 1.2, and nothing that a reader would have to guess.

`no`, `on` and `12:30` are text, `010` is ten. A key that is there twice, a number that is not finite, a tag
of another schema and a text that unfolds without end are refused, with their line.
Source: YAML 1.2.2, chapter 10.3 (https://yaml.org/spec/1.2.2/#103-core-schema).
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mlperf_submission.errors import SettingError

LARGEST_BYTES = 1 << 18
_MOST_VALUES = 20_000
_DEEPEST = 20
_MOST_DIGITS = 40
_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMBER_STARTS = list("-+.0123456789")


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2, and limits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Build a node, and count what it would unfold to: an alias is as large as what it stands for."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self._depth >= _DEEPEST:
            _refuse(f"more than {_DEEPEST} levels", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and not isinstance(event, yaml.AliasEvent):
            self._sizes[id(node)] = 1 + sum(self._size(inner, event) for inner in _inner(node))
            if self._sizes[id(node)] > _MOST_VALUES:
                _refuse(f"it unfolds to more than {_MOST_VALUES} values", event.start_mark)
        return node

    def _size(self, node: Node, event: yaml.Event) -> int:
        size = self._sizes.get(id(node))
        return _refuse("an alias stands for what it lies in", event.start_mark) if size is None else size


def _inner(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _mapping(loader: _Loader, node: MappingNode) -> dict[Hashable, Any]:
    found: dict[Hashable, Any] = {}
    lines: dict[Hashable, int] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | None):
            _refuse("a key must be a word", key_node.start_mark)
        if key in found:
            _refuse(f"the key {_short(key)} is there already, in line {lines[key]}", key_node.start_mark)
        lines[key] = key_node.start_mark.line + 1
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _sequence(loader: _Loader, node: SequenceNode) -> list[Any]:
    return [loader.construct_object(item, deep=True) for item in node.value]


def _scalar(_loader: _Loader, node: ScalarNode) -> bool | int | float | str | None:
    text, kind = str(node.value), node.tag.removeprefix(_TAG)
    if kind == "str":
        return (
            text if text.isascii() or _is_unicode(text) else _refuse("half of a character", node.start_mark)
        )
    if kind == "null" and _NULL.fullmatch(text):
        return None
    if kind == "bool" and _BOOL.fullmatch(text):
        return text.lower() == "true"
    if kind in ("int", "float") and len(text) > _MOST_DIGITS:
        _refuse(f"a number of {len(text)} characters", node.start_mark)
    if kind == "int" and _INT.fullmatch(text):
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if kind == "float" and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if kind == "float":
        _refuse(f"{_short(text)} is no finite number; quote it if it is text", node.start_mark)
    return _refuse(f"{_short(text)} is not what its tag !!{kind} says", node.start_mark)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _other(_loader: _Loader, node: Node) -> NoReturn:
    _refuse(f"the tag {_short(node.tag)} is not known here", node.start_mark)


def _refuse(problem: str, mark: Any) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


class _Dumper(yaml.SafeDumper):
    """Quotes every text that a reader of YAML 1.1 or 1.2 would take for something else."""


_Loader.yaml_implicit_resolvers = {}  # those of YAML 1.1
_Loader.yaml_constructors = {}


def _text(dumper: _Dumper, value: str) -> ScalarNode:
    # In other styles PyYAML folds line breaks.
    return dumper.represent_scalar(f"{_TAG}str", value, style=None if value.isprintable() else '"')


_Dumper.add_representer(str, _text)
for _kind, _pattern, _starts in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, _NUMBER_STARTS),
    ("float", _FLOAT, _NUMBER_STARTS),
    ("float", _NOT_FINITE, _NUMBER_STARTS),
):
    for _side in (_Loader, _Dumper):
        _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
        _side.add_implicit_resolver(_TAG + _kind, _whole, _starts)
for _kind in ("null", "bool", "int", "float", "str"):
    _Loader.add_constructor(_TAG + _kind, _scalar)
_Loader.add_constructor(_TAG + "map", _mapping)
_Loader.add_constructor(_TAG + "seq", _sequence)
_Loader.add_constructor(None, _other)


def read_yaml(content: bytes, where: object) -> Any:
    """Return what a YAML document holds: dicts, lists, text, finite numbers, booleans and None.

    Args:
        content: the document.
        where: what the error names, e.g. its path.

    Raises:
        SettingError: it is no YAML, or YAML that is refused here; the message names the line.
    """
    try:
        if len(content) > LARGEST_BYTES:
            raise yaml.YAMLError(f"it has more than {LARGEST_BYTES >> 10} KiB")
        return yaml.load(content.decode("utf-8-sig"), _Loader)  # noqa: S506 - a safe loader, made stricter
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(
            f"this is not YAML that can be read: {_told(error)}", where=where, remedy="mend the line it names"
        ) from error


def _told(error: Exception) -> str:
    """Return an error of the parser in one line: PyYAML's own text quotes the file over several."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error).partition("\n")[0]
    mark = error.problem_mark or error.context_mark
    parts = [part for part in (error.context, error.problem) if part]
    return f"{', '.join(parts)}{f' (line {mark.line + 1})' if mark else ''}"


def written_yaml(value: Any) -> str:
    """Return a value as YAML in ASCII, which readers of YAML 1.1 and 1.2 understand alike.

    Args:
        value: dicts, whose keys keep their order, lists, text, numbers, booleans and None.
    """
    return yaml.dump(value, Dumper=_Dumper, width=1 << 30, sort_keys=False)
