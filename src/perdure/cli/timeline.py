"""``perdure timeline``: what a run has done, in order, what was sent to it, and what it waits for."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import typer

from ..app.client import flow_verbs as verbs
from ..jobs.view import gist
from ..workflows.model import Moment
from ..workflows.ops import control
from . import show
from .database import opened
from .options import Json, Schema, Url

COLUMNS = ["step", "kind", "state", "attempt", "started", "ended", "due", "outcome"]
OUTCOME_CHARS = 60
"""How much of a result is drawn on a terminal. Errors are shown whole, and in a pipe everything is."""
ERRORS = ("failed", "retry")

command = typer.Typer(add_completion=False, rich_markup_mode="rich")


@command.command()
def timeline(
    id: Annotated[str, typer.Argument(metavar="ID", help="What the run is called.")],
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Show what a workflow's run has recorded, what was sent to it, and what holds it up now."""
    with opened(url, schema) as database:
        run = database.ask(verbs.get(id))
        moments = database.ask(control.timeline(run.job))
        letters = database.ask(control.inbox(run.job))
    if as_json:
        show.document({"run": run, "steps": moments, "inbox": letters})
        return
    told = gist(run.error) if run.error and run.state not in ("running", "waiting") else None
    show.line(f"{run.id}: {run.name}, version {run.version}, is {run.state}" + (f": {told}" if told else ""))
    show.table(COLUMNS, [_cells(moment) for moment in moments], empty="nothing is recorded yet", wraps="outcome")
    for moment in moments:
        if (note := _note(moment)) is not None:
            show.line(f"{moment.name} was skipped: {note}")
    for letter in letters:
        show.line(_told(letter))
    if run.waits_for and not run.finished:
        until = f", until {show.moment(run.wake_at)} at the latest" if run.wake_at else ""
        show.line(f"waits for {', '.join(run.waits_for)}{until}")


def _told(letter: control.Letter) -> str:
    what = "update" if letter.update else "signal"
    if letter.refusal is not None:
        return f"{what} {letter.name!r}, refused: {letter.refusal}"
    return f"{what} {letter.name!r}, {f'taken by {letter.taken}' if letter.taken else 'not taken yet'}"


def _note(moment: Moment) -> str | None:
    """What a person has noted who took the step for done; a child's job stands before it, a signal's name elsewhere."""
    if moment.detail is None or moment.state != "done" or moment.kind in ("cancel", "patch"):
        return None
    if moment.kind == "child":
        return moment.detail.partition(" ")[2] or None
    return None if moment.kind in ("signal", "token") and moment.detail in moment.name else moment.detail


def _cells(moment: Moment) -> list[Any]:
    times = [each if each else "" for each in (moment.started_at, moment.ended_at, moment.due_at)]
    outcome = "" if moment.outcome is None else msgspec.json.encode(moment.outcome).decode()
    if moment.state not in ERRORS and len(outcome) > OUTCOME_CHARS and sys.stdout.isatty():
        outcome = f"{outcome[: OUTCOME_CHARS - 1]}…"
    return [moment.name, moment.kind, moment.state, moment.attempt or "", *times, outcome]
