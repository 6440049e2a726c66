"""``perdure dev``: a database, its migrations, and a worker that starts again when the code changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.op import one
from ..pg import embedded
from ..pg.connect import connect, wait_for_server
from ..pg.drive import drive
from ..pg.migrate import checked_schema, migrate
from ..pg.url import resolve, shown
from ..runtime.clock import monotonic
from ..runtime.parent import Tether
from ..sql import statement
from . import watch
from .options import AppPath, Schema, Url
from .show import say

SESSIONS = statement("dev.sessions", lambda row: int(row["others"]))

WAIT_SECONDS = 60.0
DRAIN_SECONDS = 2.0
"""What running jobs get when the code has changed: a developer waits for it."""
LAST_SESSION_SECONDS = 3.0

_SETTINGS_WRONG = 2

command = typer.Typer(add_completion=False)


@command.command()
def dev(
    app: AppPath,
    queues: Annotated[
        str | None,
        typer.Option(metavar="NAME:SLOTS,…", help="Which queues, and how many slots, as for `perdure worker`."),
    ] = None,
    url: Url = None,
    schema: Schema = "perdure",
) -> None:
    """Run an app while it is being written: migrations, a worker, and a new worker whenever a source file changes.

    Without a URL the embedded Postgres is started. Ctrl-C ends all of it; a Postgres that was running before, or that
    others use by then, goes on.
    """
    checked_schema(schema)
    arguments = ["worker", app, "--schema", schema, "--drain-timeout", str(DRAIN_SECONDS)]
    if queues is not None:
        arguments += ["--queues", queues]
    with _database(url) as address:
        wait_for_server(address, say, WAIT_SECONDS)
        with connect(address, "migration") as conn:
            migrate(conn, schema=schema, say=say)
        say(f"database {shown(address)}; Ctrl-C ends")
        code = asyncio.run(Reloader(arguments, {"DATABASE_URL": address}, Path.cwd()).run())
    raise typer.Exit(code)


class Reloader:
    """Keeps ``perdure ARGUMENTS`` running in a child process, and starts it again when a source under ``root`` changes.

    A child that ends by itself isn't started again until something changes: its error is on the screen.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], root: Path) -> None:
        self._command = [sys.executable, "-m", "perdure", *arguments]
        self._environment, self._root = {**os.environ, **environment}, root
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Until told to stop: 0. 2 when the first start already ends with 2: what was asked for can't work."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._stopping.set)
        self._tether = Tether()
        first = True
        try:
            while not self._stopping.is_set():
                seen = await asyncio.to_thread(watch.snapshot, self._root)
                child = await self._start()
                changed = await self._first(child.wait(), watch.change(self._root, seen), self._stopping.wait())
                if child.returncode is not None and not self._stopping.is_set() and not isinstance(changed, list):
                    if first and child.returncode == _SETTINGS_WRONG:
                        return _SETTINGS_WRONG
                    say(f"the worker ended with {child.returncode}; it starts again when a file changes")
                    changed = await self._first(watch.change(self._root, seen), self._stopping.wait())
                await self._end(child)
                if isinstance(changed, list):
                    say(f"{self._named(changed)} changed")
                first = False
        finally:
            self._tether.close()
        return 0

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            env={**self._environment, **self._tether.environment},
            pass_fds=[self._tether.reading],
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )

    def _named(self, paths: list[str]) -> str:
        named = ", ".join(os.path.relpath(path, self._root) for path in paths[:3])
        return named if len(paths) <= 3 else f"{named} and {len(paths) - 3} more"

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        """Let it drain. It ends itself, the hard way, when it doesn't; the wait for it is bounded all the same."""
        if child.returncode is not None:
            return
        for number, seconds in ((signal.SIGTERM, DRAIN_SECONDS + 10.0), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), seconds)
                return

    async def _first(self, *waits: Coroutine[Any, Any, object]) -> object:
        """What the first of these to end has returned; the others are given up."""
        tasks = [asyncio.ensure_future(each) for each in waits]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task for task in tasks if task in done).result()
        finally:
            for task in tasks:
                task.cancel()


@contextmanager
def _database(url: str | None) -> Iterator[str]:
    """The address; an embedded Postgres that had to be started for it is stopped, unless others use it by then."""
    ours = url is None and not os.environ.get("DATABASE_URL") and not embedded.status().running
    address = resolve(url, say=say)
    try:
        yield address
    finally:
        if ours:
            others = _others(address)
            if others:
                say(f"PostgreSQL goes on: {others} other sessions use it")
            else:
                embedded.stop()
                say("PostgreSQL is stopped")


def _others(address: str) -> int:
    """Sessions of others, once those that have just been closed are gone."""
    deadline = monotonic() + LAST_SESSION_SECONDS
    with connect(address) as conn:
        while True:
            others = drive(conn, one(SESSIONS))
            if not others or monotonic() > deadline:
                return others
