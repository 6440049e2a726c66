"""``perdure demo``: the story of order:9182 told on this terminal, or a file of one's own fed as jobs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..demo import feed, story
from ..demo.crew import Crew, DemoFailed
from ..demo.ground import SCHEMA, prepared
from ..pg.embedded import ensure
from ..pg.url import checked
from ..runtime.clock import monotonic
from . import show
from .options import Json
from .show import say
from .theatre import theatre

command = typer.Typer(add_completion=False)


@command.command()
def demo(
    input: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Feed each line of this NDJSON file as a job instead, and compare every value that comes back.",
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Of a database to play in, instead of the embedded Postgres.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is promised: workers are killed and frozen, and nothing is lost or done twice.

    It plays on the embedded Postgres, whatever $DATABASE_URL says, in the schema perdure_demo, which is made anew each
    time. The exit code is 0 when the ledger at the end adds up, 1 when it doesn't, 2 when lines of a file were refused.
    """
    began = monotonic()
    address = checked(url) if url is not None else ensure(say=say)
    stage = theatre(as_json)
    slots = story.SLOTS if input is None else feed.SLOTS
    report: story.Report | feed.Report
    with prepared(address, say) as ground, stage, Crew(address, SCHEMA, slots, ground.workers) as crew:
        stage.title("The story of order:9182" if input is None else f"The lines of {input.name}", ground.version)
        try:
            report = story.play(ground, stage, crew) if input is None else feed.play(ground, stage, crew, input)
        except DemoFailed:
            say(crew.logs())
            raise
        if report.problems:
            say(crew.logs())
    seconds = monotonic() - began
    if as_json:
        show.document({"ok": not report.problems, "seconds": seconds, **asdict(report)})
    else:
        stage.ledger(report.lines(), report.problems, seconds)
    raise typer.Exit(exit_code(report))


def exit_code(report: story.Report | feed.Report) -> int:
    """1 when the ledger doesn't add up, else 2 when lines were refused, else 0."""
    if report.problems:
        return 1
    return 2 if isinstance(report, feed.Report) and report.refusals else 0
