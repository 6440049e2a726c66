"""``perdure jobs progress``: how far a job is."""

from __future__ import annotations

from typing import Annotated

import typer

from ..app.client import verbs
from . import show
from .database import opened
from .options import Json, Schema, Url


def progress(
    id: Annotated[int, typer.Argument(metavar="ID", help="The job's id.")],
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Show how far a job says it is, how fast it goes, and how long the rest takes."""
    with opened(url, schema) as database:
        found = database.ask(verbs.progress(id))
    if as_json:
        show.document({name: getattr(found, name) for name in (*found.__dataclass_fields__, "eta_seconds")})
        return
    if found.n is None and found.saved_at is None:
        show.line("it hasn't said anything")
        return
    of = None if found.n is None else f"{found.n:g} of {found.total:g}" if found.total is not None else f"{found.n:g}"
    show.facts(
        [
            ("done", of),
            ("message", found.message),
            ("per second", None if found.rate is None else f"{found.rate:.1f}"),
            ("left", show.span(found.eta_seconds)),
            ("reported", found.reported_at),
            ("saved", found.saved_at),
            ("last advanced", None if found.still_seconds is None else f"{show.span(found.still_seconds)} ago"),
        ]
    )
