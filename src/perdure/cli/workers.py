"""``perdure workers``: who works, and on what."""

from __future__ import annotations

from typing import Annotated

import typer

from ..fleet.ops.workers import list_workers
from ..runtime.clock import utc_now
from . import show
from .database import opened
from .options import Json, Schema, Url, noun

command = noun("The workers that live, and those that ended lately.")


@command.callback()
def _workers() -> None: ...


@command.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show.")] = 200,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """List them, the living first."""
    with opened(url, schema) as database:
        found = database.ask(list_workers(limit))
    if as_json:
        show.document(found)
        return
    now = utc_now()
    show.table(
        ["id", "name", "state", "queues", "slots", "leases", "started", "beat"],
        [
            [each.id, each.name, each.state, ",".join(each.queues), each.slots, each.leases,
             show.ago(each.started_at, now), _beat(each.state, each.expires_in)]
            for each in found
        ],
        empty="no worker has been started; `perdure worker APP` starts one",
    )  # fmt: skip


def _beat(state: str, expires_in: float) -> str | None:
    if state not in ("alive", "draining"):
        return None
    return "on time" if expires_in > 0 else "run out"
