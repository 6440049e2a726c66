"""``perdure enqueue``: one job from the command line, or one for each line of a file."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ..app import ndjson
from ..app.loading import load_app
from ..core import codec
from ..core.errors import InvalidOption, PerdureError
from ..fleet.ops import workers
from ..jobs.model import JobSpec
from ..jobs.ops import enqueue as ops
from . import show
from .database import Database, opened
from .maker import Maker
from .options import Json, Schema, Url

BATCH_JOBS = 1_000
BATCH_BYTES = 4_000_000
"""What one transaction takes of a file: so many lines or so many bytes, whichever is reached first."""

REFUSALS_KEPT = 1_000
SPOOL_BYTES = 16_000_000

command = typer.Typer(add_completion=False)


@command.command()
def enqueue(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARGS]…", help="NAME=VALUE, where VALUE is JSON or else a text; or one JSON object of all of them."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="FILE", help="One JSON object of arguments a line; - is stdin.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Of a file all lines, or none when one is refused.")] = False,
    app: Annotated[
        str | None,
        typer.Option(metavar="APP", help="module:app: check the arguments by its task's signature, use its defaults."),
    ] = None,
    queue: Annotated[str | None, typer.Option(help="Where to; otherwise the task's, or default.")] = None,
    key: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    priority: Annotated[int | None, typer.Option(metavar="0…9", help="0 goes first; 5 when not said.")] = None,
    delay: Annotated[float | None, typer.Option(metavar="SECONDS", help="Due so much later.")] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Due then: 2026-03-01T09:00+01:00.")] = None,
    expires: Annotated[float | None, typer.Option(metavar="SECONDS", help="Not started after so long.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="What an attempt may take.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find it by; may be given several times.")] = None,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Enqueue one job, or with --from one for each line of a file.

    Refused lines of a file are reported, each with its number, and the others enqueued; the exit code is then 2.
    """
    options = {
        "queue": queue, "key": key, "priority": priority, "delay": delay, "run_at": _moment(run_at),
        "expires": expires, "timeout": timeout, "tags": tag or None,
    }  # fmt: skip
    said = {name: value for name, value in options.items() if value is not None}
    found = None if app is None else load_app(app).find(task)
    if delay is not None and run_at is not None:
        raise InvalidOption("is given together with --run-at", field="--delay", fix="give one of them")
    with _as_typed({name: "--tag" if name == "tags" else f"--{name.replace('_', '-')}" for name in options}):
        maker = Maker(task, found, said)
    if source is None:
        if strict:
            raise InvalidOption("is about a file", field="--strict", fix="give --from, or leave it out")
        with _as_typed({None: "ARGS"}):
            spec = maker.job(_object(arguments or []))
        _one(spec, url, schema, as_json)
        return
    if arguments:
        raise InvalidOption("are given together with --from", field="ARGS", fix="put them into the file")
    _file(source, maker, strict, url, schema, as_json)


@contextmanager
def _as_typed(fields: Mapping[str | None, str]) -> Iterator[None]:
    """An error names its field as it stands in the command."""
    try:
        yield
    except PerdureError as error:
        error.field = fields.get(error.field, error.field)
        raise


def _one(spec: JobSpec, url: str | None, schema: str, as_json: bool) -> None:
    with opened(url, schema) as database:
        _refuse_run(database, spec.task)
        (id,) = database.change(ops.enqueue([spec]))
    if as_json:
        show.document({"id": id, "task": spec.task, "queue": spec.queue})
    else:
        show.line(f"job {id}: {spec.task} on {spec.queue}" if sys.stdout.isatty() else str(id))


def _refuse_run(database: Database, task: str) -> None:
    """Refuse the name of a workflow, as far as its workers have told it."""
    if database.ask(workers.is_workflow(task)):
        raise InvalidOption(
            f"{task} is a workflow, whose runs are started and not enqueued",
            field="TASK",
            fix="start it with client.workflows.start, or enqueue a task that does",
        )


@dataclass
class _Tally:
    """What has become of a file so far."""

    lines: int = 0
    enqueued: int = 0
    refused: int = 0
    first_id: int | None = None
    last_id: int | None = None
    refusals: list[dict[str, Any]] = field(default_factory=list)


def _file(source: str, maker: Maker, strict: bool, url: str | None, schema: str, as_json: bool) -> None:
    tally = _Tally()
    with _opened(source) as (file, name, size), opened(url, schema) as database, _bar(size) as advance:
        _refuse_run(database, maker.name)
        lines = _accepted(ndjson.read(file, maker.job, name=name), tally, advance)
        try:
            if strict:
                _all_or_none(database, maker, lines, tally)
            else:
                _all_that_can(database, lines, tally)
        except Exception:
            if tally.enqueued:
                show.say(f"{tally.enqueued:,} jobs had been enqueued by then, the last one is {tally.last_id}")
            raise
    if as_json:
        show.document(tally)
    else:
        kept = ("lines", "enqueued", "refused", "first_id", "last_id")
        show.facts([(name.replace("_", " "), getattr(tally, name)) for name in kept])
    if strict and tally.refused:
        show.say("nothing was enqueued")
    raise typer.Exit(2 if tally.refused else 0)


def _accepted(lines: Iterator[ndjson.Line[JobSpec]], tally: _Tally, advance: Any) -> Iterator[JobSpec]:
    """The jobs of the good lines; the others are reported as they come."""
    for line in lines:
        tally.lines += 1
        advance(line.end)
        if line.value is not None:
            yield line.value
        elif line.refusal is not None:
            tally.refused += 1
            show.complain(str(line.refusal), 2)
            if len(tally.refusals) < REFUSALS_KEPT:
                tally.refusals.append({"line": line.number, **line.refusal.problem})


def _all_that_can(database: Database, specs: Iterator[JobSpec], tally: _Tally) -> None:
    for batch in _batches(specs):
        with database.conn.transaction():
            _write(database, batch, tally)


def _all_or_none(database: Database, maker: Maker, specs: Iterator[JobSpec], tally: _Tally) -> None:
    """Check everything first, keeping what was read in a file of ours; then write it in one transaction."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES, mode="w+", encoding="utf-8", newline="\n") as spool:
        for spec in specs:
            spool.write(f"{spec.payload}\n")
        if tally.refused:
            return
        spool.seek(0)
        with database.conn.transaction():
            for batch in _batches(maker.job(text.removesuffix("\n"), checked=True) for text in spool):
                _write(database, batch, tally)


def _write(database: Database, batch: list[JobSpec], tally: _Tally) -> None:
    ids = database.ask(ops.enqueue(batch))
    tally.enqueued += len(ids)
    tally.first_id = tally.first_id or ids[0]
    tally.last_id = ids[-1]


def _batches(specs: Iterator[JobSpec]) -> Iterator[list[JobSpec]]:
    batch: list[JobSpec] = []
    size = 0
    for spec in specs:
        batch.append(spec)
        size += len(spec.payload)
        if len(batch) == BATCH_JOBS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@contextmanager
def _opened(source: str) -> Iterator[tuple[BinaryIO, str, int | None]]:
    """The file, what it is called, and how many bytes it has, where that is known."""
    if source == "-":
        yield sys.stdin.buffer, "stdin", None
        return
    path = Path(source)
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidOption(f"{source}: {error.strerror}", field="--from", fix="give a file that can be read") from None
    with file:
        yield file, path.name, path.stat().st_size if path.is_file() else None


@contextmanager
def _bar(size: int | None) -> Iterator[Any]:
    """A bar on a terminal's stderr, moved by calling it with the bytes read so far."""
    shown = size is not None and sys.stderr.isatty()
    columns = (TextColumn("enqueueing"), BarColumn(40), DownloadColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)
    with bar if shown else nullcontext():
        task = bar.add_task("", total=size)
        yield lambda end: bar.update(task, completed=end)


def _object(arguments: list[str]) -> str:
    """ARGS as JSON object text. Values are kept as they are written, so that no number loses a digit."""
    if len(arguments) == 1 and arguments[0].lstrip().startswith("{"):
        return arguments[0]
    parts: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name.isidentifier():
            raise InvalidOption(
                f"{argument!r} isn't NAME=VALUE", field="ARGS", fix="write order_id=9182, or one JSON object of all"
            )
        if name in parts:
            raise InvalidOption("is given twice", field=name, fix="give it once")
        if value in ("NaN", "Infinity", "-Infinity"):
            raise InvalidOption(f"{value} is no JSON", field=name, fix=f"write {name}='\"{value}\"' for the text")
        try:
            parts[name] = codec.accept(value)
        except PerdureError:
            parts[name] = codec.encode(value, field=name)
    return "{" + ",".join(f"{codec.encode(name)}:{value}" for name, value in parts.items()) + "}"


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidOption(f"{text!r} is no time", field="--run-at", fix="write 2026-03-01T09:00+01:00") from None
    if found.tzinfo is None:
        utc = f"{found.isoformat(timespec='minutes')}Z"
        raise InvalidOption(f"{text!r} has no time zone", field="--run-at", fix=f"write {utc}, or another offset")
    return found
