"""Prints what a release publishes, as JSON: names of Python with their parameters, fields of what is returned and
written with ``--json``, codes of errors, commands and their options. It is run on each release, so it imports no test.
"""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any

Entry = dict[str, bool]
"""By name of a parameter, field or option: whether it must be given."""

GIVEN = {"Context", "Enqueued", "Task", "Workflow"}
"""What nobody makes by calling it: it is given."""


def parameters(function: Any) -> Entry:
    """What a function takes."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {
        each.name: each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        for each in found
        if each.name != "self"
    }


def mentioned(function: Any) -> Iterator[type]:
    """The classes of ours that a function's annotations name."""
    try:
        hints = list(typing.get_type_hints(function).values())
    except Exception:  # a name that only type checkers know
        return
    while hints:
        hint = hints.pop()
        hints += typing.get_args(hint)
        if inspect.isclass(hint) and hint.__module__.startswith("perdure."):
            yield hint


def shape(made: type) -> Iterator[tuple[str, Entry]]:
    """A class's fields and public methods, each with what it takes."""
    fields: Any = getattr(made, "__dataclass_fields__", None) or getattr(made, "__struct_fields__", ())
    if typing.is_typeddict(made):
        fields = made.__annotations__
    yield "fields", dict.fromkeys(fields, False)
    if issubclass(made, dict):
        return
    for name in dir(made):
        member = inspect.getattr_static(made, name)
        inherited = hasattr(BaseException, name)
        if (
            not inherited
            and not name.startswith("_")
            and (callable(member) or isinstance(member, (property, classmethod, staticmethod)))
        ):
            yield name, {} if isinstance(member, property) else parameters(getattr(made, name))


def python() -> Iterator[tuple[str, Entry]]:
    """What ``import perdure`` gives, the nouns of a client, and the classes that those name."""
    package: Any = import_module("perdure")
    url = "postgresql://localhost/none"
    waiting = {getattr(package, name) for name in package.__all__ if inspect.isclass(getattr(package, name))}
    for name in package.__all__:
        value = getattr(package, name)
        made = (
            callable(value) and name not in GIVEN and not (inspect.isclass(value) and issubclass(value, BaseException))
        )
        yield f"perdure.{name}", parameters(value) if made else {}
    for client in (package.Client(url), package.AsyncClient(url)):
        for name, noun in vars(client).items():
            if not name.startswith("_"):
                yield f"{type(client).__name__}.{name}", {}
                waiting.add(type(noun))
    seen: set[type] = set()
    while waiting - seen:
        value = (waiting - seen).pop()
        seen.add(value)
        for member, entry in shape(value):
            yield f"{value.__name__}.{member}", entry
            function = getattr(value, member, None)
            if inspect.isfunction(function):
                waiting.update(mentioned(function))


def errors() -> Iterator[tuple[str, Entry]]:
    """The errors' codes."""
    module: Any = import_module("perdure.core.errors")
    for name, value in vars(module).items():
        if inspect.isclass(value) and issubclass(value, module.PerdureError):
            yield f"error {vars(value).get('code', value.__name__)}", {}
            yield f"error {name}", {}


def commands(command: Any, name: str) -> Iterator[tuple[str, Entry]]:
    """A command with its options, and those below it."""
    taken: Entry = {}
    for each in command.params:
        said = [*each.opts, *each.secondary_opts] if each.param_type_name == "option" else [str(each.name)]
        taken.update(dict.fromkeys(said, bool(each.required)))
    yield name, taken
    for below in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from commands(command.get_command(None, below), f"{name} {below}")


def program() -> Iterator[tuple[str, Entry]]:
    """The program ``perdure``."""
    typer_main = import_module("typer.main")
    yield from commands(typer_main.get_command(import_module("perdure.cli.program").perdure), "$ perdure")


if __name__ == "__main__":
    json.dump({name: entry for part in (python(), errors(), program()) for name, entry in part}, sys.stdout, indent=1)
