"""``perdure dev``: a database, its migrations, and a worker that starts again when the code changes.

Changes are noticed by ``watchfiles``: each system's notifications, and polling where there are none, are a library's
work and not a job queue's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import Unsupported
from ..core.op import one
from ..pg import embedded
from ..pg.connect import connect, wait_for_server
from ..pg.drive import drive
from ..pg.migrate import checked_schema, migrate
from ..pg.url import direct, resolve, shown
from ..runtime.clock import monotonic
from ..runtime.parent import Tether
from ..sql import statement
from .options import LOOP_SECONDS, AppPath, Schema, Url
from .show import say

try:
    from watchfiles import Change, awatch
except ImportError:  # an optional extra, which only this command needs
    awatch = None  # type: ignore[assignment]

SESSIONS = statement("dev.sessions", lambda row: int(row["others"]))

WAIT_SECONDS = 60.0
BUSY_SECONDS = "0.25"
"""Whatever keeps the worker's event loop for longer is reported, unless the environment says another span."""

DRAIN_SECONDS = 2.0
"""What running jobs get when the code has changed: a developer waits for it."""
LAST_SESSION_SECONDS = 3.0
CHANGES_MS = 400
"""How long changes are gathered, at most: a database under the same directory never stops writing."""

SOURCES = (".py", ".pyi", ".sql", ".toml")
NO_SOURCES = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})
"""Directories in which a change is nobody's edit."""

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
    if awatch is None:
        raise Unsupported(
            "what notices changes of the code isn't installed", field="dev", fix="run `pip install 'perdure[reload]'`"
        )
    checked_schema(schema)
    arguments = ["worker", app, "--schema", schema, "--drain-timeout", str(DRAIN_SECONDS)]
    if queues is not None:
        arguments += ["--queues", queues]
    with _database(url) as address:
        wait_for_server(address, say, WAIT_SECONDS)
        with connect(direct() or address, "migration") as conn:
            migrate(conn, schema=schema, say=say)
        say(f"database {shown(address)}; Ctrl-C ends")
        environment = {"DATABASE_URL": address, LOOP_SECONDS: os.environ.get(LOOP_SECONDS, BUSY_SECONDS)}
        code = asyncio.run(Reloader(arguments, environment, Path.cwd()).run())
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
        changes = awatch(self._root, watch_filter=sources(self._root), debounce=CHANGES_MS)
        changed, stopping = asyncio.ensure_future(anext(changes)), asyncio.ensure_future(self._stopping.wait())
        await asyncio.sleep(0)  # the first step of `changed` begins to watch, so the child starts with nothing unseen
        if changed.done():
            raise _unwatchable(self._root, changed.exception())
        self._tether = Tether()
        first = True

        def hear() -> None:
            nonlocal changed
            if changed.done():
                say(f"{self._named(sorted({path for _, path in changed.result()}))} changed")
                changed = asyncio.ensure_future(anext(changes))

        try:
            while not self._stopping.is_set():
                child = await self._start()
                ended = asyncio.ensure_future(child.wait())
                await asyncio.wait((ended, changed, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not changed.done() and not self._stopping.is_set():
                    if first and child.returncode == _SETTINGS_WRONG:
                        return _SETTINGS_WRONG
                    say(f"the worker ended with {child.returncode}; it starts again when a file changes")
                    await asyncio.wait((changed, stopping), return_when=asyncio.FIRST_COMPLETED)
                hear()
                await self._end(child)
                hear()  # what changed while it drained needs no start of its own
                first = False
        finally:
            self._tether.close()
            changed.cancel()
            stopping.cancel()
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


def sources(root: Path) -> Callable[[Change, str], bool]:
    """Which changes under ``root`` are edits of the application: not those in hidden directories and environments."""

    def is_source(change: Change, path: str) -> bool:
        inner = Path(os.path.relpath(path, root))
        if not inner.name.endswith(SOURCES) or any(part.startswith(".") or part in NO_SOURCES for part in inner.parts):
            return False
        return not any((root / above / "pyvenv.cfg").exists() for above in list(inner.parents)[:-1])

    return is_source


def _unwatchable(root: Path, error: BaseException | None) -> Unsupported:
    return Unsupported(
        f"changes can't be noticed here: {error}",
        field=str(root),
        fix="set WATCHFILES_FORCE_POLLING=1 where the system's watches are too few, or "
        "WATCHFILES_IGNORE_PERMISSION_DENIED=1 where a directory can't be read",
    )


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
