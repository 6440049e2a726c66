"""``perdure explain``: why a job waits, what happens next, who holds it, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from ..admin.explain import explain as ask
from ..app.client.verbs import missing
from . import show
from .database import opened
from .options import Json, Schema, Url

command = typer.Typer(add_completion=False)


@command.command()
def explain(
    id: Annotated[int, typer.Argument(metavar="ID", help="The job's id.")],
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Say why a job is where it is, what will happen next, who holds it, and what is to be done. Nothing is written."""
    with opened(url, schema) as database:
        found = database.ask(ask(id))
    if found is None:
        missing(id)
    if as_json:
        show.document(found)
        return
    show.facts(
        [("job", f"{found.id} {found.evidence['task']}"), ("place", found.place), ("code", found.code),
         ("why", found.because), ("next", found.next), ("held by", found.holder), ("to do", found.fix)]
    )  # fmt: skip
