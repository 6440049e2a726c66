"""A wire that can be cut: a TCP proxy before the server, which breaks a connection at a chosen moment."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

Moment = Callable[[str, str], bool]
"""Whether the wire is to be cut after a statement: given the session's application_name and the statement's text."""


class _Reader:
    """Reads what a client sends, as far as it is needed to know which statement is being executed (PostgreSQL manual,
    chapter 55.7: the name comes with Parse, and Bind says which of them)."""

    def __init__(self) -> None:
        self._rest = b""
        self._texts: dict[bytes, str] = {}
        self.application = ""

    def executed(self, data: bytes) -> list[str]:
        """The statements whose execution this piece asks for."""
        self._rest += data
        found = []
        while len(self._rest) >= 5:
            typed = self._rest[0] != 0  # what opens a session has no type, only its length
            size = int.from_bytes(self._rest[typed : typed + 4], "big") + typed
            if len(self._rest) < size:
                break
            kind, body, self._rest = self._rest[:1], self._rest[typed + 4 : size], self._rest[size:]
            if not typed:
                self.application = body.partition(b"application_name\0")[2].partition(b"\0")[0].decode()
            elif kind == b"Q":
                found.append(body.rstrip(b"\0").decode())
            elif kind == b"P":
                name, text, *_ = body.split(b"\0")
                self._texts[name] = text.decode()
            elif kind == b"B":
                found.append(self._texts.get(body.split(b"\0")[1], ""))
        return found


class Proxy:
    """Listens on a port of this machine, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._url, self._path = url, f"{parse_qs(urlsplit(url).query)['host'][0]}/.s.PGSQL.5432"
        self._cut: Moment | None = None
        self.cuts = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    @property
    def url(self) -> str:
        """The URL of the same database, through the wire."""
        parts = urlsplit(self._url)
        return f"postgresql://postgres@127.0.0.1:{self._port}{parts.path}"

    def cut_after(self, moment: Moment) -> None:
        """Cut once: that statement is delivered, the server's answer isn't, and the connection is closed."""
        self._cut = moment

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._path)
        cut = asyncio.Event()
        with contextlib.suppress(OSError, asyncio.CancelledError):  # cancelled: the proxy is closed
            await asyncio.gather(self._to_server(reader, back, cut), self._to_client(there, writer, cut))
        for each in (writer, back):
            each.close()

    async def _to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        read = _Reader()
        while data := await reader.read(1 << 20):
            moment, executed = self._cut, read.executed(data)
            if moment is not None and any(moment(read.application, text) for text in executed):
                self._cut = None
                self.cuts += 1
                cut.set()
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if cut.is_set():
                break  # the server has answered, so it has done it; the answer is lost
            writer.write(data)
            await writer.drain()
        writer.close()
