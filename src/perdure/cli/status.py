"""``perdure status``: what is going on, on one screen."""

from __future__ import annotations

from datetime import datetime

import typer

from ..core import limits
from ..fleet.model import Worker
from ..fleet.ops.upkeep import list_chores
from ..fleet.ops.workers import crashes, list_workers
from ..jobs.ops.progress import stuck
from ..jobs.ops.queues import list_queues
from ..pg.migrate import plan
from ..pg.url import shown
from ..runtime.clock import utc_now
from . import show
from .chores import banner, state
from .database import opened
from .options import Json, Schema, Url
from .queues import COLUMNS, cells

command = typer.Typer(add_completion=False)

STUCK_SHOWN_MAX = 10


@command.command()
def status(url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Show the queues, the workers, and the state of the schema."""
    with opened(url, schema) as database:
        queues = database.ask(list_queues())
        workers = [each for each in database.ask(list_workers()) if each.state in ("alive", "draining")]
        still = database.ask(stuck(limits.STUCK_SECONDS, STUCK_SHOWN_MAX))
        chores, crashed = database.ask(list_chores()), database.ask(crashes())
        pending = [migration.title for migration in plan(database.conn, schema=schema)]
        version = database.conn.info.parameter_status("server_version") or ""
        where = shown(database.url)
    if as_json:
        show.document(
            {"database": where, "postgres": version, "schema": schema, "pending_migrations": pending,
             "queues": queues, "workers": workers, "safe_mode": crashed.safe_mode, "chores": chores,
             "stuck": still}
        )  # fmt: skip
        return
    if crashed.safe_mode:
        show.say(banner(crashed))
    now = utc_now()
    troubled = [f"{each.name} {state(each)}: {each.last_error}" for each in chores if each.consecutive_failures]
    stuck_jobs = [f"job {each.id} ({each.task}) for {show.span(each.still_seconds)}" for each in still]
    show.facts(
        [
            ("database", where),
            ("postgres", version),
            ("schema", f"{schema}, {len(pending)} migrations pending" if pending else f"{schema}, up to date"),
            ("housekeeping", "; ".join(troubled) or "ok"),
            ("stuck", ", ".join(stuck_jobs)),
            ("workers", _summary([(each.name, _age(each, now)) for each in workers])),
        ]
    )
    show.gap()
    show.table(COLUMNS, [cells(queue) for queue in queues], empty="no queue yet: the first job makes one")


def _age(worker: Worker, now: datetime) -> str:
    return f"for {show.ago(worker.started_at, now)}" if worker.expires_in > 0 else "silent"


def _summary(workers: list[tuple[str, str]]) -> str:
    if not workers:
        return "none"
    named = ", ".join(f"{name} ({age})" for name, age in workers[:5])
    return named if len(workers) <= 5 else f"{named} and {len(workers) - 5} more"
