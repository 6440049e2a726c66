"""``perdure report``: the questions that support staff ask, answered or shown as SQL."""

from __future__ import annotations

from typing import Annotated

import typer

from ..admin import reports
from ..sql import in_schema
from . import show
from .database import opened
from .options import Json, Schema, Url

command = typer.Typer(add_completion=False)


@command.command()
def report(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="topic.question; without one they are listed.")
    ] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Show the query, for psql, and ask no database.")] = False,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Answer a question about the system, such as `jobs.stuck`. Nothing is written."""
    if name is None:
        listed = reports.catalogue()
        if as_json:
            show.document([{"name": each.name, "question": each.question} for each in listed])
        else:
            rows = [[each.name, each.question] for each in listed]
            show.table(["report", "question"], rows, empty="there are none", wraps="question")
        return
    found = reports.find(name)
    if sql:
        show.line(in_schema(found.text, schema).rstrip())
        return
    with opened(url, schema) as database:
        answered = database.ask(reports.answer(found))
    if as_json:
        show.document(answered)
    else:
        columns = list(answered[0]) if answered else []
        show.table(columns, [list(row.values()) for row in answered], empty="no rows")
