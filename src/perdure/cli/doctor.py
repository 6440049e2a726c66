"""``perdure doctor``: what is wrong, with figures and the next step."""

from __future__ import annotations

from typing import Annotated

import typer

from ..admin import doctor as checks
from ..admin import stage as rungs
from ..admin.model import SEVERITY, Subject
from ..pg.migrate import plan
from ..pg.pooler import PooledConnection
from ..pg.url import direct
from . import show
from .database import Database, opened
from .options import Json, Schema, Url

command = typer.Typer(add_completion=False)


@command.command()
def doctor(
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Ask also what has to be right before real work depends on it.")
    ] = False,
    stage: Annotated[
        bool, typer.Option("--stage", help="Say which rungs of the ladder this system needs, from what it has met.")
    ] = False,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Look for what is wrong, and say what to do about it. Nothing is written.

    The exit code is 0 when all is well, 1 for warnings, 2 when something has failed. What couldn't be looked at is
    `skipped`, which is neither.
    """
    if stage:
        _show_rungs(url, schema, as_json)
        return
    with opened(url, schema, checked=False) as database:
        asked = checks.CHECKS + checks.DEPLOY if deploy else checks.CHECKS
        found = list(checks.examine(_subject(database), database.change, asked))
    if as_json:
        show.document(found)
    else:
        rows = [[each.status, each.check, each.message] for each in found]
        show.table(["status", "check", "finding"], rows, empty="nothing was asked", wraps="finding")
    raise typer.Exit(max((SEVERITY[each.status] for each in found), default=0))


def _show_rungs(url: str | None, schema: str, as_json: bool) -> None:
    with opened(url, schema) as database:
        found = database.ask(rungs.stage())
    if as_json:
        show.document(found)
        return
    rows = [
        [each["rung"], each["name"], "yes" if each["needed"] else "no", each["seen"] or f"when {each['trigger']}",
         each["adds"], each["stop"]]
        for each in found
    ]  # fmt: skip
    show.table(["rung", "name", "needed", "why", "adds", "stop when"], rows, empty="", wraps="why")


def _subject(database: Database) -> Subject:
    pending = [(migration.phase, migration.title) for migration in plan(database.conn, schema=database.schema)]
    pooled = isinstance(database.conn, PooledConnection)
    return Subject(database.url, database.schema, pending, pooled=pooled, direct=direct() is not None)
