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
    """Something was decided, read, compared, converted or printed that a step (`awaited`) has yet to make."""

    def __init__(self, awaited: str) -> None:
        super().__init__(f"{awaited} is not finished: what it makes is passed on, not looked at")
        self.awaited = awaited


class Pending:
    """Stands for what a step would hand on; whoever looks at it gets a PendingError that names the step."""

    def __init__(self, awaited: str) -> None:
        self._awaited = awaited

    def __getattr__(self, *_: object) -> NoReturn:
        """Refuse."""
        raise PendingError(self._awaited)

    def __repr__(self) -> str:
        """Say what is awaited, for a debugger."""
        return f"<{self._awaited} is pending>"


for _operation in (
    *("bool", "int", "float", "index", "str", "format", "fspath", "hash", "call", "len", "iter", "getitem"),
    *("contains", "eq", "ne", "lt", "le", "gt", "ge", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv"),
    *("rtruediv", "or", "and", "enter", "exit"),
):
    setattr(Pending, f"__{_operation}__", Pending.__getattr__)  # Python looks these up on the class alone


def pending(step: str) -> Any:
    """Return what stands for the outcome of a step, whatever its type."""
    return Pending(step)


def later(value: Callable[[], R]) -> R:
    """Return what a function of what steps make returns; pending if it looks at something pending."""
    try:
        return value()
    except PendingError as error:
        return cast(R, Pending(error.awaited))


def derived(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of what steps make; see `later`."""

    @wraps(function)
    def value(*arguments: P.args, **settings: P.kwargs) -> R:
        return later(lambda: function(*arguments, **settings))

    return value


def is_pending(value: object) -> bool:
    """Whether a value is pending, or holds something pending in a mapping or list."""
    if isinstance(value, dict):
        return any(map(is_pending, value.values()))
    return isinstance(value, Pending) or (isinstance(value, list | tuple) and any(map(is_pending, value)))
