"""A file of values, one JSON text a line: something is made of each line, or it is refused by its number.

What is made of a line is the caller's business; here is only which bytes are a line, and how much of one is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Generic, TypeVar

from ..core import limits
from ..core.errors import MalformedLine, PayloadTooLarge, PerdureError

T = TypeVar("T")

LINE_BYTES_MAX = limits.PAYLOAD_BYTES_MAX + 65_536
"""What is kept of a line; a longer one is refused whatever it says. The surplus is room for blanks around the value."""

_SKIP_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Line(Generic[T]):
    """One line with something in it. ``offset`` and ``end``: the bytes of the file before it, and up to its end.

    ``value`` is what was made of it, unless ``refusal`` says why nothing was.
    """

    number: int
    offset: int
    end: int
    value: T | None
    refusal: MalformedLine | None


def read(file: BinaryIO, make: Callable[[bytes], T], *, name: str = "") -> Iterator[Line[T]]:
    """The lines of a file in order, numbered from 1; empty ones are counted and left out.

    ``make`` is given a line's bytes, or raises the PerdureError that refuses it. ``name`` is the file's, for errors.
    """
    number, end = 0, 0
    while raw := file.readline(LINE_BYTES_MAX + 1):
        number, offset, end = number + 1, end, end + len(raw)
        whole = len(raw) <= LINE_BYTES_MAX or raw.endswith(b"\n")
        while not whole:
            rest = file.readline(_SKIP_BYTES)
            end += len(rest)
            if len(rest) < _SKIP_BYTES or rest.endswith(b"\n"):
                break
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, as Windows writes it
        if raw.strip() or not whole:  # after that many blanks, too, something may stand
            value, refusal = _made(raw if whole else None, make, f"{name} line {number:,}".lstrip())
            yield Line(number, offset, end, value, refusal)


def _made(raw: bytes | None, make: Callable[[bytes], T], place: str) -> tuple[T | None, MalformedLine | None]:
    try:
        if raw is None:
            raise PayloadTooLarge(
                f"the line has more than {LINE_BYTES_MAX:,} bytes",
                fix="keep the data in a table or a file, and pass its id",
            )
        return make(raw), None
    except PerdureError as error:
        problem = f"{error.field}: {error.message}" if error.field else error.message
        return None, MalformedLine(problem, field=place, fix=error.fix)
