"""``perdure schema``: the tables, views and functions of this version, as SQL to read."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated

import typer

from ..pg.migrate import checked_schema, load
from ..sql import in_schema
from . import show
from .options import Json, Schema

command = typer.Typer(add_completion=False)


@command.command()
def schema(
    roles: Annotated[
        bool, typer.Option("--roles", help="Write the roles for producers, workers and support instead.")
    ] = False,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Write the schema of this version as SQL: what all migrations together make.

    It is for reading, and for comparing with a dump; `perdure migrate` is what makes it. No database is asked.
    """
    checked_schema(schema)
    name = "roles.sql" if roles else "schema.sql"
    text = in_schema(files("perdure.sql").joinpath(name).read_text(encoding="utf-8"), schema)
    if as_json:
        show.document({"schema": schema, "migrations": [migration.title for migration in load()], "sql": text})
    else:
        show.line(text.rstrip())
