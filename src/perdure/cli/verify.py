"""``perdure verify``: the guarantees, put to the test on the user's own server."""

from __future__ import annotations

import sys

import typer

from ..verify.run import Verdict, verify
from . import show
from .options import Json, Url

command = typer.Typer(add_completion=False)


@command.command()
def verify_(url: Url = None, as_json: Json = False) -> None:
    """Put the guarantees to the test on this server: atomic enqueue, unique keys, one worker for each job, kill -9, a
    worker that comes back too late, dead letters, drain.

    It works in a schema of its own, which is removed at the end, with worker processes that it kills and freezes. It
    takes about half a minute. Ends with 1 when a guarantee doesn't hold.
    """
    found = verify(url, show.say, (lambda verdict: None) if as_json else _tell)
    if as_json:
        show.document(found)
    if not all(verdict.held for verdict in found):
        raise typer.Exit(1)


def _tell(verdict: Verdict) -> None:
    word = "ok    " if verdict.held else "BROKEN"
    sys.stdout.write(f"{word}  {verdict.guarantee:<13} {verdict.evidence} ({verdict.seconds:.1f} s)\n")
    sys.stdout.flush()
