"""The asker: at the child's end, it has the worker do what a run in a child needs done."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Self

from ...core.context import portable
from ...runtime import framing
from ..talk import Answer, Ask, Began, Drop, Ended, Told, What


class Asker:
    """Asks on a socket, on the event loop that enters it. ``on_told`` hears what wasn't asked for."""

    def __init__(self, sock: socket.socket, on_told: Callable[[Told], None]) -> None:
        self._sock, self._on_told = sock, on_told
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._deaf: Exception | None = None

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._sock.dup())
        self._listening = asyncio.get_running_loop().create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        self._writer.close()
        with suppress(OSError):  # the last answer goes by the same socket, and must not cut off what is half sent
            await self._writer.wait_closed()

    async def ask(self, what: What, *arguments: Any) -> Any:
        """Have it done by the worker; what came of it, once that is durable. Raises what it raised there."""
        if self._deaf is not None:
            raise self._deaf
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._say(Ask(number, what, arguments, portable()))
        try:
            return await answer
        except asyncio.CancelledError:
            self._say(Drop(number))
            raise
        finally:
            del self._waiting[number]

    @contextmanager
    def calling(self, address: str, timeout: float | None) -> Iterator[None]:
        """While a step's function is called: the worker watches that it ends."""
        number = next(self._numbers)
        self._say(Began(number, address, timeout))
        try:
            yield
        finally:
            self._say(Ended(number))

    def _say(self, said: object) -> None:
        self._writer.write(framing.framed(pickle.dumps(said)))

    async def _listen(self) -> None:
        try:
            while True:
                self._hear(pickle.loads(await framing.read(self._reader)))
        except Exception as error:  # the worker is gone, or there is no memory for what it says
            self._deaf = error
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(error)
            raise

    def _hear(self, said: Answer | Told) -> None:
        if isinstance(said, Told):
            self._on_told(said)
            return
        answer = self._waiting.get(said.number)
        if answer is None or answer.done():
            return
        if said.raised:
            answer.set_exception(said.value)
        else:
            answer.set_result(said.value)
