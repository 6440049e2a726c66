"""The program ``perdure``: its commands by name, and what an error looks like.

A command's module is imported when the command is named, so that starting a worker doesn't load the demonstration.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NoReturn

import psycopg
import typer
from typer.core import TyperGroup
from typer.main import get_command

from ..core.errors import PerdureError
from ..pg.errors import translate
from .show import complain

COMMANDS = (
    "demo", "dev", "worker", "migrate", "schema", "enqueue", "jobs", "queues", "machines", "workers",
    "chores", "workflows", "timeline", "status", "explain", "report", "doctor", "verify", "bench",
)  # fmt: skip
"""In the order of the help. Each is the module of its name, whose ``command`` is a Typer."""


_INTERRUPTED = 130
"""What typer makes of Ctrl-C: 128 and the number of SIGINT."""

_UNHEARD = 128 + signal.SIGPIPE
"""What a shell says of any program whose reader has closed the pipe."""


def _module(name: str) -> str | None:
    """The command's module, if this installation has it."""
    found = find_spec(f"{__package__}.{name}")
    return None if found is None else found.name


class Program(TyperGroup):
    """A group whose commands are the modules of this package."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands by name."""
        return [name for name in COMMANDS if _module(name) is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now; None when there is none."""
        module = _module(cmd_name) if cmd_name in COMMANDS else None
        if module is None:
            return None
        found = get_command(import_module(module).command)
        found.name = cmd_name
        return found


perdure = typer.Typer(
    cls=Program,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"perdure {version('perdure')}\n")
        raise typer.Exit


@perdure.callback()
def _perdure(
    shown: bool = typer.Option(
        False, "--version", help="Show the version and end.", callback=_show_version, is_eager=True
    ),
) -> None:
    """Durable jobs on the Postgres you already have."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit code. An error is one line on stderr, a bug is a traceback."""
    try:
        code = _run(arguments)
        sys.stdout.flush()  # what is left in it at the interpreter's end can't be told any more
        return code
    except (BrokenPipeError, SystemExit) as error:
        # Whoever read us has heard enough; of that typer makes a SystemExit, where it meets it.
        if not isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError):
            raise
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return _UNHEARD


def _run(arguments: Sequence[str] | None) -> int:
    try:
        ended = get_command(perdure).main(arguments, prog_name="perdure", standalone_mode=False)
    except PerdureError as error:
        return complain(str(error), error.exit_code)
    except psycopg.Error as error:
        return complain(str(translate(error)), 1)
    except typer.TyperException as error:
        # Without a message the help was asked for by saying nothing, and has been shown.
        return complain(_usage(error), error.exit_code) if error.format_message() else error.exit_code
    except typer.Abort:
        return complain("interrupted", 1)
    if ended == _INTERRUPTED:
        return complain("interrupted", 1)
    return ended if isinstance(ended, int) else 0


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    help_text = f"; see `{context.command_path} --help`" if context is not None else ""
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}{help_text}"
