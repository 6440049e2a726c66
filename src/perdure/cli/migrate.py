"""``perdure migrate``: bring the schema up to this version, or show what that would take."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ..pg import migrate as migrations
from ..pg.connect import connect, wait_for_server
from ..pg.url import direct, resolve
from . import show
from .options import Json, Schema, Url
from .show import say

WAIT_SECONDS = 60.0
"""A migration is often the first thing that a deployment runs, while its server is still starting."""

command = typer.Typer(add_completion=False)


class Phase(Enum):
    """How far to go: what old code can live with, or everything."""

    pre = "pre"
    all = "all"


@command.command()
def migrate(
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be applied, and write nothing.")] = False,
    phase: Annotated[
        Phase, typer.Option(help="pre: only what running code of the old version can live with, for an upgrade.")
    ] = Phase.all,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Bring the schema up to this version.

    An upgrade without a stop is `perdure migrate --phase pre`, the deployment of the new version, `perdure migrate`.
    """
    migrations.checked_schema(schema)
    address = resolve(url or direct(), say=say)
    wait_for_server(address, say, WAIT_SECONDS)
    with connect(address, "migration") as conn:
        if plan:
            found = migrations.plan(conn, schema=schema, pre_only=phase is Phase.pre)
        else:
            found = migrations.migrate(conn, schema=schema, pre_only=phase is Phase.pre, say=say)
    titles = [migration.title for migration in found]
    if as_json:
        show.document({"schema": schema, "pending" if plan else "applied": titles})
    elif plan:
        show.table(["pending"], [[title] for title in titles], empty=f"schema {schema} is up to date")
    elif not titles:
        say(f"schema {schema} is up to date")
