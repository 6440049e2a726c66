"""``perdure workers``: who works, and on what."""

from __future__ import annotations

from typing import Annotated

import typer

from ..app.client import workers
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


@command.command()
def release(
    worker: Annotated[int, typer.Argument(min=1, help="The worker's id, as `perdure workers` shows it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the attempt log of each job.")],
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Take out of a worker's hands whatever it holds: back to ready, no attempt charged.

    Never needed after a crash, which others notice by themselves. What must not run twice goes to the dead, to be
    reviewed. What the worker still does with these jobs is refused.
    """
    with opened(url, schema) as database:
        released = database.change(workers.release(worker, reason))
    if as_json:
        show.document({"worker": worker, "released": released})
    else:
        show.say(f"{released} jobs were taken from worker {worker}")


def _beat(state: str, expires_in: float) -> str | None:
    if state not in ("alive", "draining"):
        return None
    return "on time" if expires_in > 0 else "run out"
