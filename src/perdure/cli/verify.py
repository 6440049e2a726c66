"""``perdure verify``: the guarantees, put to the test on the user's own server."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..verify.run import Verdict, verify
from ..verify.setups import setup
from . import show
from .options import Json, Url

command = typer.Typer(add_completion=False)


@command.command()
def verify_(
    stage: Annotated[
        int | None,
        typer.Option(
            min=1, max=7, help="As far up the ladder as this (`perdure doctor --stage`): what is above is off."
        ),
    ] = None,
    without: Annotated[
        str | None, typer.Option(metavar="CONTROL", help="With this one off: wake-ups, housekeeping or drain.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Put the guarantees to the test on this server: atomic enqueue, work that outlives its worker, unique keys, kill
    -9, dead letters, one worker for each job, a worker that comes back too late, drain, steps that don't run twice.

    It works in a schema of its own, which is removed at the end, with worker processes that it kills and freezes. It
    takes about a minute. Ends with 1 when a guarantee doesn't hold.
    """
    chosen = setup(stage, without)
    for each in chosen.missing if stage is not None else []:
        show.say(f"{each} doesn't exist yet, and isn't tested")
    found = verify(url, show.say, (lambda verdict: None) if as_json else _tell, setup=chosen)
    if as_json:
        show.document(found)
    if not all(verdict.held for verdict in found):
        raise typer.Exit(1)


def _tell(verdict: Verdict) -> None:
    word = "ok    " if verdict.held else "BROKEN"
    sys.stdout.write(f"{word}  {verdict.guarantee:<13} {verdict.evidence} ({verdict.seconds:.1f} s)\n")
    sys.stdout.flush()
