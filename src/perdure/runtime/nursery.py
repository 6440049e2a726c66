"""The nursery: children of this process that share an imported application, and die with it. See ``forkserver``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from . import forkserver, framing

_Birth = tuple[int, "asyncio.Future[int | None]"]
"""A child's pid, and how it will have ended."""

LAST_WORDS_SECONDS = 1.0
"""How long what a child has sent before it ended may take to be read."""

CODE_SECONDS = 5.0
"""How long the server may take to say how a child ended that is gone."""


class ChildEnded(Exception):
    """The child is gone, and has not answered. ``code``: its exit code, or the signal's number below nought; None when
    nobody is left who knows."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the child process ended ({code})")
        self.code = code


class NoChild(Exception):
    """No child could be started, or none that could begin."""


class Child:
    """One child. It answers one message after the other, or has more to say: then ``send`` and ``receive``."""

    def __init__(
        self, pid: int, code: asyncio.Future[int | None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid, self._code, self._reader, self._writer = pid, code, reader, writer

    async def ask(self, message: bytes) -> bytes:
        """Its answer. Raises ChildEnded; cancelled, it leaves a child that is good for nothing but ``kill``."""
        return await self._unless_ended(self._exchange(message))

    async def send(self, message: bytes) -> None:
        """Send it a message. That it is gone is told by ``receive``."""
        with contextlib.suppress(OSError):
            self._writer.write(framing.framed(message))
            await self._writer.drain()

    async def receive(self) -> bytes:
        """Its next message; also what it has sent before it ended. Raises, and is cancelled, as ``ask``."""
        return await self._unless_ended(framing.read(self._reader))

    async def _unless_ended(self, talk: Coroutine[Any, Any, bytes]) -> bytes:
        answering = asyncio.ensure_future(talk)
        try:
            either: set[asyncio.Future[Any]] = {answering, self._code}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                await asyncio.wait({answering}, timeout=LAST_WORDS_SECONDS)
            if answering.done() and answering.exception() is None:
                return answering.result()
        finally:
            answering.cancel()
        await asyncio.wait({self._code}, timeout=CODE_SECONDS)
        raise ChildEnded(self._code.result() if self._code.done() else None)

    async def _exchange(self, message: bytes) -> bytes:
        await self.send(message)
        return await framing.read(self._reader)

    @property
    def ended(self) -> bool:
        """Whether it is known to be gone."""
        return self._code.done()

    def kill(self) -> None:
        """End it now, with what it has started."""
        if not self.ended:
            forkserver.kill(self.pid)
        self.close()

    def close(self) -> None:
        """Let go: it ends when it has nothing more to answer."""
        self._writer.close()


class Nursery:
    """Starts children that have imported ``modules`` and run ``serve`` ("module:function", given their socket).

    ``first``: what is imported before them, and may set up what they need. ``prepare``: what is called then, as
    "module:function" and arguments for it that have a JSON form.
    """

    def __init__(
        self, modules: Sequence[str], serve: str, *, first: str | None = None, prepare: Sequence[Any] | None = None
    ) -> None:
        self._modules, self._serve = list(modules), serve
        self._first, self._prepare = first, prepare
        self._turn = asyncio.Lock()
        self._sock: socket.socket | None = None
        self._births: deque[asyncio.Future[_Birth]] = deque()
        self._codes: dict[int, asyncio.Future[int | None]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def child(self) -> Child:
        """A new child. Raises NoChild."""
        ours, theirs = socket.socketpair()
        try:
            async with self._turn:
                pid, code = await self._fork(theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return Child(pid, code, reader, writer)

    async def close(self) -> None:
        """End the server, and with it every child."""
        if self._sock is None or self._listening is None:
            return
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        await asyncio.wait({self._listening}, timeout=CODE_SECONDS)
        self._listening.cancel()
        await asyncio.wait({self._listening})
        self._sock.close()
        self._sock = None

    async def _fork(self, theirs: socket.socket) -> _Birth:
        if self._listening is None or self._listening.done():
            await self._start()
        assert self._sock is not None
        birth: asyncio.Future[_Birth] = asyncio.get_running_loop().create_future()
        try:
            socket.send_fds(self._sock, [b"f"], [theirs.fileno()])
        except OSError as error:
            raise NoChild(f"the fork server doesn't listen: {error}") from error
        self._births.append(birth)  # also of one that is given up: the answers come in the order of the requests
        return await birth

    async def _start(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock, theirs = socket.socketpair()
        settings = {
            "parent": os.getpid(),
            "socket": theirs.fileno(),
            "path": sys.path,
            "first": self._first,
            "prepare": self._prepare,
            "modules": self._modules,
            "main": _main(),
            "serve": self._serve,
            "bare": False,
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *forkserver.arguments(settings),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            raise NoChild(f"the fork server can't be started: {error}") from error
        finally:
            theirs.close()
        self._listening = asyncio.get_running_loop().create_task(self._listen(self._sock, process))

    async def _listen(self, sock: socket.socket, process: asyncio.subprocess.Process) -> None:
        """Hear of births and ends until the server is gone; then nobody knows how its children end."""
        reader, writer = await asyncio.open_unix_connection(sock=sock.dup())
        try:
            while line := await reader.readline():
                self._heard(line.split())
        finally:
            writer.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            for birth in self._births:
                if not birth.done():
                    birth.set_exception(NoChild("the fork server has ended"))
            self._births.clear()
            for code in self._codes.values():
                if not code.done():
                    code.set_result(None)
            self._codes.clear()

    def _heard(self, words: list[bytes]) -> None:
        pid = int(words[1])
        if words[0] == b"born":
            self._codes[pid] = asyncio.get_running_loop().create_future()
            birth = self._births.popleft()
            if not birth.done():
                birth.set_result((pid, self._codes[pid]))
        elif (code := self._codes.pop(pid, None)) is not None and not code.done():
            code.set_result(int(words[2]))


def _main() -> tuple[str, str | None] | None:
    """The file this process was started from, if it is one, and the package that it belongs to."""
    main = sys.modules.get("__main__")
    found = getattr(main, "__file__", None)
    return (os.path.abspath(found), getattr(main, "__package__", None)) if isinstance(found, str) else None
