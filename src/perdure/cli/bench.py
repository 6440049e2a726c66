"""``perdure bench``: what the promises cost on this machine, each figure beside the floor measured in the same run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..bench.figures import Figure, Report, Target
from ..bench.run import measure
from ..runtime import collector
from . import show
from .options import Json, Url

command = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Measure this machine: each figure stands beside what Postgres takes for the bare rows, measured in the same "
    "run. It works in a schema of its own, which is removed at the end. See docs/guides/bench.md.",
)

Jobs: TypeAlias = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", help="How many jobs; what they are is said above.", show_default=False),
]
Rounds: TypeAlias = Annotated[
    int | None,
    typer.Option("--rounds", metavar="N", help="A rate is the median of this many rounds.", show_default=False),
]
COLUMNS = ("figure", "value", "unit", "floor", "ratio", "target", "met", "what the floor is")
MET = {True: ("met", "green"), False: ("missed", "bold red"), None: ("", "")}


@command.command()
def drain(jobs: Jobs = None, rounds: Rounds = None, url: Url = None, as_json: Json = False) -> None:
    """How fast a backlog of N jobs that do nothing is worked off: one worker, large batches, two workers, and with an
    enqueuer beside it."""
    _bench("drain", url, jobs, rounds, as_json)


@command.command()
def enqueue(jobs: Jobs = None, rounds: Rounds = None, url: Url = None, as_json: Json = False) -> None:
    """What writing N jobs costs: in thousands, one at a time, and one at a time by a hundred callers at once."""
    _bench("enqueue", url, jobs, rounds, as_json)


@command.command()
def latency(jobs: Jobs = None, rounds: Rounds = None, url: Url = None, as_json: Json = False) -> None:
    """How soon N single jobs start on an idle worker, how soon one that is committed late, and what an idle worker asks
    the server."""
    _bench("latency", url, jobs, rounds, as_json)


@command.command()
def bloat(jobs: Jobs = None, rounds: Rounds = None, url: Url = None, as_json: Json = False) -> None:
    """What becomes of all that while another session holds a snapshot, under which N jobs are churned."""
    _bench("bloat", url, jobs, rounds, as_json)


@command.command()
def crash(jobs: Jobs = None, rounds: Rounds = None, url: Url = None, as_json: Json = False) -> None:
    """How soon the jobs of a killed worker run elsewhere, what a SIGTERM costs, and what a full worker holds in memory
    with N jobs queued behind it."""
    _bench("crash", url, jobs, rounds, as_json)


@command.command()
def history(jobs: Jobs = None, rounds: Rounds = None, url: Url = None, as_json: Json = False) -> None:
    """What N finished jobs in history cost a claim."""
    _bench("history", url, jobs, rounds, as_json)


@command.command()
def steps(jobs: Jobs = None, rounds: Rounds = None, url: Url = None, as_json: Json = False) -> None:
    """How fast N workflows at once record their steps in one worker process, and what a step costs a workflow that is
    alone."""
    _bench("steps", url, jobs, rounds, as_json)


@command.command()
def parked(jobs: Jobs = None, rounds: Rounds = None, url: Url = None, as_json: Json = False) -> None:
    """What N runs that wait cost a worker, how soon a run starts or is woken, and how long a long history's replay
    takes."""
    _bench("parked", url, jobs, rounds, as_json)


@command.command()
def soak(
    seconds: Annotated[int | None, typer.Option(metavar="N", min=2, help="How long; by default a minute.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """A worker at half of what it can drain, for some time: whether the tables' sizes level off and latency stays
    flat."""
    _bench("soak", url, seconds, None, as_json)


def _bench(name: str, url: str | None, jobs: int | None, rounds: int | None, as_json: bool) -> None:
    """Measure and show. A missed target is shown, and is no error; counts that don't add up are one."""
    collector.spare()  # the floors are measured in this process, and are given what workers are
    with _interruptible(), _progress() as say:
        report = measure(name, url, say, jobs=jobs, rounds=rounds)
    if as_json:
        show.document({**asdict(report), "ok": report.ok})
    else:
        _show(report)
    for problem in report.problems:
        show.complain(problem, 1)
    raise typer.Exit(0 if report.ok else 1)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a SIGTERM end the benchmark as Ctrl-C does, which is for the event loop to do while it runs: an exception
    out of nowhere could lose a worker process that is just being started."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    # A shell starts what it puts into the background with SIGINT ignored; the event loop would then leave it so.
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupted)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What is going on, on stderr: one line that moves on a terminal, elsewhere a line for each step."""
    if not sys.stderr.isatty():
        yield show.say
        return
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda line: progress.update(task, description=line)


def _show(report: Report) -> None:
    rows = [cells(each) for each in report.figures]
    if not sys.stdout.isatty():
        show.table(COLUMNS, rows, empty="nothing could be measured")
        return
    console = Console()
    console.print(Text(f"perdure bench {report.benchmark}", style="bold"), Text(about(report), style="dim"), sep="\n")
    console.print(_drawn(rows))
    console.print(Text(f"{report.seconds:.0f} s", style="dim"))


def _drawn(rows: list[tuple[str, ...]]) -> Table:
    """What the floor is stands under its figure: a line holds no more."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("figure")
    for name in ("value", "floor", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("target", max_width=26)
    styles = dict(MET.values())
    for figure, value, unit, floor, ratio, target, met, floor_is in rows:
        table.add_row(
            Text.assemble(figure, "\n", (f"  floor: {floor_is}", "dim")),
            Text.assemble((value, "bold"), f" {unit}"),
            floor,
            Text(ratio, style="cyan"),
            Text(met, style=styles[met]),
            target,
        )
    return table


def cells(each: Figure) -> tuple[str, ...]:
    """A figure as the cells of its row."""
    return (
        each.name,
        number(each.value),
        each.unit,
        number(each.floor),
        "" if each.ratio is None else number(each.ratio),
        "" if each.target is None else goal(each.target, each.unit),
        MET[each.met][0],
        each.floor_is,
    )


def number(value: float) -> str:
    """Three digits that count, and no more: 0.00104, 0.417, 3.52, 47.9, 101,088."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def goal(target: Target, unit: str) -> str:
    """A target in words."""
    said = f"{target.at} {target.bound:g} {'of the floor' if target.of == 'floor' else unit}"
    return f"{said}, unless {target.unless}" if target.unless else said


def about(report: Report) -> str:
    """What was measured, and the floor of it."""
    server, floor = report.server, report.floor
    rounds = "1 round" if report.rounds == 1 else f"{report.rounds} rounds"
    return (
        f"{report.jobs:,} jobs, {rounds} · PostgreSQL {server.version}, fsync {server.fsync}, "
        f"synchronous_commit {server.synchronous_commit} · {report.cores} cores · Python {report.python}\n"
        f"floor, {floor.payload_bytes} bytes a row in statements of {floor.batch:,}: INSERT {floor.insert:,.0f}/s, "
        f"DELETE {floor.delete:,.0f}/s, both {floor.both:,.0f}/s"
    )
