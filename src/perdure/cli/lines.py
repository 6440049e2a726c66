"""A file of jobs, one JSON object of arguments a line: which lines can be jobs, and why the others can't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..app.registry import Task
from ..core import codec, limits
from ..core.errors import InvalidArgument, MalformedLine, PayloadTooLarge, PerdureError
from ..jobs.model import JobSpec

LINE_BYTES_MAX = limits.PAYLOAD_BYTES_MAX + 65_536
"""What is kept of a line; a longer one is refused whatever it says. The surplus is room for blanks around the value."""

_SKIP_BYTES = 1_048_576


class Maker:
    """Makes jobs of JSON texts. With a ``task`` they are held to its signature; without one, any object will do."""

    def __init__(self, name: str, task: Task[..., Any] | None, options: Mapping[str, Any]) -> None:
        self._name, self._task, self._options = name, task, dict(options)
        self.job("{}", checked=True)  # refuses a bad option before anything is read

    def job(self, text: str | bytes, *, checked: bool = False) -> JobSpec:
        """The job with these arguments. ``checked``: they come from a job that was made here before.

        Raises what ``Signature.accept`` raises, and InvalidArgument for JSON that isn't an object.
        """
        payload = text if checked and isinstance(text, str) else self._accept(text)
        if self._task is None:
            return JobSpec(task=self._name, payload=payload, **self._options)
        spec = self._task.spec(payload)
        return spec.options(**self._options) if self._options else spec

    def _accept(self, text: str | bytes) -> str:
        accepted = codec.accept(text) if self._task is None else self._task.signature.accept(text)
        if not accepted.startswith("{"):
            raise InvalidArgument("isn't a JSON object", fix='give the arguments by name, as {"order_id": 9182}')
        return accepted


@dataclass(frozen=True, slots=True)
class Line:
    """One line with something in it: its number, where the next one begins, and its job or its refusal."""

    number: int
    end: int
    spec: JobSpec | None
    refusal: MalformedLine | None


def read(file: BinaryIO, name: str, maker: Maker) -> Iterator[Line]:
    """The lines of a file in order; empty ones are left out. ``name`` is the file's, for errors."""
    number, end = 0, 0
    while raw := file.readline(LINE_BYTES_MAX):
        number, end = number + 1, end + len(raw)
        whole = len(raw) < LINE_BYTES_MAX or raw.endswith(b"\n")
        while not whole:
            rest = file.readline(_SKIP_BYTES)
            end += len(rest)
            if len(rest) < _SKIP_BYTES or rest.endswith(b"\n"):
                break
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, as Windows writes it
        if raw.strip():
            yield _line(number, end, raw if whole else None, name, maker)


def _line(number: int, end: int, raw: bytes | None, name: str, maker: Maker) -> Line:
    try:
        if raw is None:
            raise PayloadTooLarge(
                f"the line has more than {LINE_BYTES_MAX:,} bytes",
                fix="keep the data in a table or a file, and pass its id",
            )
        return Line(number, end, maker.job(raw), None)
    except PerdureError as error:
        problem = f"{error.field}: {error.message}" if error.field else error.message
        return Line(number, end, None, MalformedLine(problem, field=f"{name} line {number:,}", fix=error.fix))
