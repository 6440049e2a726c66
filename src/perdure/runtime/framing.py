"""Messages on a stream: what a worker and its children say to each other, each behind its length."""

from __future__ import annotations

import asyncio
from io import BufferedIOBase

_LENGTH_BYTES = 8


def framed(message: bytes) -> bytes:
    """The message as it is written to a stream."""
    return len(message).to_bytes(_LENGTH_BYTES, "big") + message


async def read(reader: asyncio.StreamReader) -> bytes:
    """The next message. Raises EOFError or OSError when the other side has gone."""
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    return await reader.readexactly(length)


def read_here(wire: BufferedIOBase) -> bytes | None:
    """The same where there is no event loop: the next message; None when the other side has gone."""
    length = wire.read(_LENGTH_BYTES)
    return wire.read(int.from_bytes(length, "big")) if len(length) == _LENGTH_BYTES else None
