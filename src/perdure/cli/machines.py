"""``perdure machines``: where entities stand, which are stuck, how one came there; an app's machine as a diagram."""

from __future__ import annotations

from typing import Annotated

import typer

from ..app.client.verbs import PAGE_ROWS_MAX
from ..app.loading import load_app
from ..core.errors import InvalidOption
from ..machines.errors import EntityNotFound
from ..machines.ops import read
from . import show
from .database import opened
from .options import AppPath, Json, Schema, Url, noun

Name = Annotated[str, typer.Argument(metavar="MACHINE", help="The machine's name.")]

command = noun("State machines: where entities stand, which are stuck. Without a verb the states are listed.")


@command.callback()
def _machines() -> None: ...


@command.command("list")
def list_(url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """List the states of every machine, and how many entities stand in each."""
    with opened(url, schema) as database:
        found = database.ask(read.counts())
    if as_json:
        show.document(found)
        return
    rows = [[each.machine, each.state, each.entities, each.stuck or None] for each in found]
    show.table(["machine", "state", "entities", "stuck"], rows, empty="no machine is declared in this database")


@command.command()
def stuck(
    limit: Annotated[int, typer.Option(min=1, max=PAGE_ROWS_MAX, help="How many to show.")] = 100,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """List the entities that have stood in their state for longer than they should, the longest first."""
    with opened(url, schema) as database:
        found = database.ask(read.stuck(None, limit + 1))
    shown = found[:limit]
    if as_json:
        show.document(shown)
    else:
        rows = [[each.machine, each.id, each.state, each.revision, each.entered_at, each.stuck_at] for each in shown]
        show.table(["machine", "id", "state", "revision", "entered", "stuck since"], rows, empty="none is stuck")
    if len(found) > limit:
        show.say(f"there are more than {limit}; perdure machines counts them")


@command.command()
def get(
    machine: Name,
    id: Annotated[str, typer.Argument(metavar="ID", help="The entity's id.")],
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Show how an entity came to stand where it does."""
    with opened(url, schema) as database:
        found, moves = database.ask(read.get(machine, id)), database.ask(read.history(machine, id))
    if found is None:
        raise EntityNotFound("there is none", field=f"{machine} {id}", fix="see perdure machines for what there is")
    if as_json:
        show.document({"entity": found, "moves": moves})
        return
    rows = [[each.revision, each.event, each.source, each.target, each.moved_at, each.moved_by, each.reason]
            for each in moves]  # fmt: skip
    show.table(["revision", "event", "from", "to", "at", "by", "reason"], rows, empty="it has never moved")


@command.command()
def diagram(app: AppPath, machine: Name) -> None:
    """Draw a machine of an app as a Mermaid state diagram."""
    loaded = load_app(app)
    if machine not in loaded.machines:
        there = ", ".join(sorted(loaded.machines)) or "none"
        problem = f"the app {loaded.name} has no machine {machine!r}"
        raise InvalidOption(problem, field="machine", fix=f"there is {there}")
    show.line(loaded.machines[machine].mermaid())
