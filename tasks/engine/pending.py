"""What a step that is not finished would hand on: it may be passed along, but nobody can look at it.

A story that is planned instead of run is walked with these. The inputs of a step, and functions that are
`derived`, may look; one that looks at something pending is pending itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


class PendingError(Exception):
    """Something was decided, read, compared, converted or printed that a step has yet to make.

    Attributes:
        step: the name of the step; `label`: what it is done for.
    """

    def __init__(self, step: str, label: str) -> None:
        super().__init__(f"{step} of {label} is not finished: what it makes can be passed on, not looked at")
        self.step, self.label = step, label


class Pending:
    """Stands for what a step would hand on; whoever looks at it gets a PendingError."""

    __slots__ = ("_label", "_step")

    def __init__(self, step: str, label: str) -> None:
        self._step, self._label = step, label

    def __getattr__(self, _name: str) -> NoReturn:
        """Refuse."""
        raise PendingError(self._step, self._label)

    def __repr__(self) -> str:
        """Say what is awaited, for a debugger."""
        return f"<{self._step} of {self._label} is pending>"


def _refuse(self: Pending, *_: object) -> NoReturn:
    self.__getattr__("")
    raise AssertionError("unreachable")


for _operation in (
    *("bool", "int", "float", "index", "str", "format", "bytes", "fspath", "hash", "call", "len", "iter"),
    *("getitem", "contains", "eq", "ne", "lt", "le", "gt", "ge", "add", "radd", "sub", "rsub", "mul", "rmul"),
    *("truediv", "rtruediv", "or", "ror", "and", "rand", "enter", "exit"),
):
    setattr(Pending, f"__{_operation}__", _refuse)  # Python looks these up on the class, never as attributes


def derived(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of what steps make: its value is pending if it looks at something pending."""

    @wraps(function)
    def value(*arguments: P.args, **settings: P.kwargs) -> R:
        try:
            return function(*arguments, **settings)
        except PendingError as error:
            return cast(R, Pending(error.step, error.label))

    return value


def awaited(step: str, label: str) -> Any:
    """Return what stands for the outcome of a step, whatever its type."""
    return Pending(step, label)


def is_pending(value: object) -> bool:
    """Whether a value is pending, or holds something pending in a mapping or list."""
    if isinstance(value, dict):
        return any(map(is_pending, value.values()))
    return isinstance(value, Pending) or (isinstance(value, list | tuple) and any(map(is_pending, value)))
