"""``perdure schema``: the tables, views and functions of this version, as SQL to read."""

from __future__ import annotations

from importlib.resources import files

import typer

from ..pg.migrate import checked_schema, load
from ..sql import in_schema
from . import show
from .options import Json, Schema

command = typer.Typer(add_completion=False)


@command.command()
def schema(schema: Schema = "perdure", as_json: Json = False) -> None:
    """Write the schema of this version as SQL: what all migrations together make.

    It is for reading, and for comparing with a dump; `perdure migrate` is what makes it. No database is asked.
    """
    checked_schema(schema)
    text = in_schema(files("perdure.sql").joinpath("schema.sql").read_text(encoding="utf-8"), schema)
    if as_json:
        show.document({"schema": schema, "migrations": [migration.title for migration in load()], "sql": text})
    else:
        show.line(text.rstrip())
