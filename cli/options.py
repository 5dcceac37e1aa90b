"""The options of a command, made of the parameters of a flow."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer

from flows.parameters import Parameters, signature_of
from mlperf_submission.errors import SettingError

WorkOption = Annotated[Path, typer.Option("--work", help="The folder that everything is kept in.")]
P = TypeVar("P", bound=Parameters)


def options(model: type[P]) -> Callable[[Callable[[P], None]], Callable[..., None]]:
    """Decorate a command that takes parameters: each is an option, one that is required an argument.

    A list is given as one text, separated by commas.
    """

    def decorate(body: Callable[[P], None]) -> Callable[..., None]:
        @wraps(body)
        def command(**given: Any) -> None:
            lists = {name: names_in(given[name]) for name in given if _is_list(model, name)}
            body(model.checked(**given | lists))

        made = [_option(model, one) for one in signature_of(model).parameters.values()]
        command.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
        return command

    return decorate


def _option(model: type[Parameters], parameter: inspect.Parameter) -> inspect.Parameter:
    name, field = parameter.name, model.model_fields[parameter.name]
    if field.is_required():
        return parameter.replace(
            annotation=Annotated[field.annotation, typer.Argument(help=field.description)]
        )
    several = _is_list(model, name)
    kind: Any = str | None if several else field.annotation
    shown = f"{field.description} Several are separated by commas." if several else field.description
    return parameter.replace(
        annotation=Annotated[kind, typer.Option(f"--{name.replace('_', '-')}", help=shown)]
    )


def _is_list(model: type[Parameters], name: str) -> bool:
    return any(get_origin(kind) is list for kind in get_args(model.model_fields[name].annotation))


def names_in(value: str | None) -> list[str] | None:
    """Return the names of a comma-separated option; None if the option was not given.

    Raises:
        SettingError: the option was given without a name.
    """
    if value is None:
        return None
    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise SettingError(
            f"the option's value {value!r} names nothing", remedy="give names, or leave the option out"
        )
    return names
