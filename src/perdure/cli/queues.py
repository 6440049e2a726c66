"""``perdure queues``: how much waits where; declare, pause and resume."""

from __future__ import annotations

from typing import Annotated

import typer

from ..app.loading import load_app
from ..core.errors import InvalidOption
from ..core.op import Op
from ..jobs.bounds import Queue
from ..jobs.ops import admission
from ..jobs.ops import queues as ops
from . import show
from .database import opened
from .options import AppPath, Json, Schema, Url, noun

COLUMNS = [
    "queue", "ready", "bound", "scheduled", "leased", "held", "waiting", "dead", "oldest", "in/s", "out/s", "drains in",
    "state",
]  # fmt: skip

QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.")]

command = noun("Queues: how much waits where; pause and resume. Without a verb they are listed.")


@command.callback()
def _queues() -> None: ...


@command.command("list")
def list_(url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """List the queues and what stands in them."""
    with opened(url, schema) as database:
        found = database.ask(ops.list_queues())
    if as_json:
        show.document(found)
    else:
        show.table(COLUMNS, [cells(queue) for queue in found], empty="no queue yet: the first job makes one")


@command.command()
def apply(app: AppPath, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Write what an app declares of its queues, as its workers do when they start: it binds everybody who enqueues."""
    loaded = load_app(app)
    with opened(url, schema) as database:
        found = database.change(admission.declare(list(loaded.queues.values()), loaded.name))
    if as_json:
        show.document(found)
        return
    for each in found:
        show.line(f"{each.rule.name}: {each.rule}{'' if each.changed else ', as before'}")
        if each.before is not None:
            show.line(f"  the app {each.before_by} had declared {each.before}")
    if not found:
        show.line(f"the app {loaded.name} declares nothing of its queues")


@command.command()
def pause(queue: QueueName, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Let nothing more be claimed from a queue. What runs goes on."""
    _act(queue, ops.pause(queue), "paused", url, schema, as_json)


@command.command()
def resume(queue: QueueName, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Let a paused queue be claimed from again."""
    _act(queue, ops.resume(queue), "resumed", url, schema, as_json)


def cells(queue: Queue) -> list[object]:
    """A queue's row of the table with COLUMNS."""
    bound = queue.rule.max_depth or ("unlimited" if queue.rule.unlimited else None)
    counts = [queue.ready, bound, queue.scheduled, queue.leased, queue.held, queue.waiting, queue.dead]
    arrived = None if queue.arrived_per_second is None else round(queue.arrived_per_second, 1)
    pace = [arrived, round(queue.ended_per_second, 1), show.span(queue.drain_seconds)]
    return [queue.name, *counts, show.span(queue.oldest_seconds), *pace, queue.state.replace("_", " ")]


def _act(queue: str, op: Op[bool], done: str, url: str | None, schema: str, as_json: bool) -> None:
    with opened(url, schema) as database:
        if not database.change(op):
            names = ", ".join(each.name for each in database.ask(ops.list_queues())) or "none yet"
            raise InvalidOption(f"there is no queue {queue!r}", field="queue", fix=f"there is {names}")
    if as_json:
        show.document({"queue": queue, "state": done})
    else:
        show.line(f"{queue} is {done}")
