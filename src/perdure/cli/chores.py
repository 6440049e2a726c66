"""``perdure chores``: what is remembered of housekeeping; letting it go on."""

from __future__ import annotations

from typing import Annotated

import typer

from ..core.errors import InvalidOption
from ..fleet.model import Chore, Crashes
from ..fleet.ops import upkeep, workers
from ..runtime.clock import utc_now
from . import show
from .database import opened
from .options import Json, Schema, Url, noun

command = noun("Housekeeping: what was done, what fails, what is parked. Without a verb it is listed.")


@command.callback()
def _chores() -> None: ...


@command.command("list")
def list_(url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """List what is remembered of each chore: when it was last done, and what it last met."""
    with opened(url, schema) as database:
        found = database.ask(upkeep.list_chores())
        crashed = database.ask(workers.crashes())
    if as_json:
        show.document({"safe_mode": crashed.safe_mode, "crashes": crashed, "chores": found})
        return
    now = utc_now()
    rows = [[each.name, state(each), show.ago(each.last_success_at, now), each.last_error] for each in found]
    show.table(["chore", "state", "done", "last error"], rows, empty="no worker has done any yet")
    if crashed.safe_mode:
        show.say(banner(crashed))


@command.command()
def unpark(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The chore's name, as in the list.")],
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Let a chore that failed be tried again at once, by the next worker that looks."""
    with opened(url, schema) as database:
        if not database.change(upkeep.unpark(name)):
            names = ", ".join(each.name for each in database.ask(upkeep.list_chores())) or "none yet"
            raise InvalidOption(f"nothing is remembered of {name!r}", field="chore", fix=f"there is {names}")
    if as_json:
        show.document({"chore": name, "state": "due"})
    else:
        show.line(f"{name} is tried again")


@command.command()
def resume(url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """End safe mode: the unclean ends of workers so far are excused, and housekeeping goes on."""
    with opened(url, schema) as database:
        excused = database.change(workers.excuse())
    if as_json:
        show.document({"excused": excused})
    else:
        show.line(f"{excused} unclean ends are excused")


def state(chore: Chore) -> str:
    """How a chore does, in a word or two."""
    if chore.parked_until is not None:
        return "parked"
    if chore.consecutive_failures:
        return f"failed {chore.consecutive_failures}x"
    return "runs" if chore.running_on is not None else "ok"


def banner(crashed: Crashes) -> str:
    """What is said wherever people look while a crash loop lasts."""
    return (
        f"SAFE MODE: {crashed.count} workers ended uncleanly lately ({'; '.join(crashed.named[:3])}), so what no job "
        "waits for is paused; `perdure chores resume` ends it"
    )
