"""``perdure workflows``: look at runs, talk to them, mend them, and check them against new code."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from ..app.client import flow_verbs as verbs
from ..app.client.verbs import PAGE_ROWS_MAX
from ..app.loading import load_app
from ..core import codec
from ..core.errors import InvalidOption
from ..jobs.view import gist
from ..workflows.model import Run
from ..workflows.ops import control, listing
from . import show
from .database import Database, opened
from .options import AppPath, Json, Schema, Url, noun

COLUMNS = ["id", "workflow", "state", "waits for", "created", "error"]

Id = Annotated[str, typer.Argument(metavar="ID", help="What the run is called.")]
Step = Annotated[str, typer.Argument(metavar="STEP", help="The step's name, as the timeline shows it.")]
Value = Annotated[str | None, typer.Argument(metavar="JSON", help="A JSON value; null when there is none.")]

command = noun("Runs of workflows: look, signal, cancel, mend, fork, check. Without a verb they are listed.")


@command.callback()
def _workflows() -> None: ...


@command.command("list")
def list_(
    name: Annotated[str | None, typer.Option(help="Of this workflow only.")] = None,
    state: Annotated[str | None, typer.Option(help=f"In this state only: {', '.join(listing.STATES)}.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="That say this of themselves; may be repeated.")
    ] = None,
    stuck: Annotated[
        bool,
        typer.Option(
            "--stuck",
            help="Those that nothing moves, by a fault of Perdure's, or since a server took over without the last "
            "commits: in no place, or waiting for nothing, which resume wakes. "
            "Those that wait for a person are parked, failed or compensation_failed: see --state.",
        ),
    ] = False,
    cursor: Annotated[int | None, typer.Option(metavar="JOB", help="Those before this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=PAGE_ROWS_MAX, help="How many to show.")] = 50,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """List runs, newest first, a page at a time."""
    with opened(url, schema) as database:
        if stuck:
            _list_stuck(database, limit, as_json)
            return
        page = database.ask(verbs.list_runs(name, state, _attributes(attribute), cursor, limit))
    if as_json:
        show.document({"runs": list(page), "next": page.next})
        return
    show.table(COLUMNS, [_cells(run) for run in page], empty="no such run")
    if page.next is not None:
        show.say(f"there are more: --cursor {page.next}")


def _list_stuck(database: Database, limit: int, as_json: bool) -> None:
    found = database.ask(control.stuck(limit + 1))
    shown = found[:limit]
    if as_json:
        show.document(shown)
    else:
        show.table(["id", "job", "problem"], [[e.id, e.job, e.problem] for e in shown], empty="no run is stuck")
    if len(found) > limit:
        show.say(f"there are more than {limit}: --limit shows up to {PAGE_ROWS_MAX:,}")


@command.command()
def get(id: Id, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Show all there is to know about one run."""
    with opened(url, schema) as database:
        run = database.ask(verbs.get(id))
    if as_json:
        show.document(run)
    else:
        show.facts([(field.replace("_", " "), show.fact(getattr(run, field))) for field in run.__struct_fields__])


@command.command()
def signal(
    id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    value: Value = None,
    key: Annotated[str | None, typer.Option(help="A second signal with this key is dropped.")] = None,
    url: Url = None,
    schema: Schema = "perdure",
) -> None:
    """Send a run a signal."""
    with opened(url, schema) as database:
        sent = database.change(verbs.signal(id, name, _value(value), key))
    show.line("sent" if sent else "one with this key was sent before")


@command.command()
def cancel(
    id: Id,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it is kept with the run.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="End it at once, and compensate nothing, then or later.")
    ] = False,
    url: Url = None,
    schema: Schema = "perdure",
) -> None:
    """Ask a run to end: it compensates what it has done, and its children end with it."""
    with opened(url, schema) as database:
        parked = database.ask(verbs.get(id)).state == "parked"
        answer = database.change(verbs.cancel(id, reason, force))
    show.line(answer)
    if parked and answer == "requested":
        show.say(
            "it was parked: what it has done is undone as soon as workers have code that comes as far as what is "
            "recorded, and not before; --force ends it now, and undoes nothing"
        )


@command.command()
def pause(id: Id, url: Url = None, schema: Schema = "perdure") -> None:
    """Let a run go no further than its next step."""
    with opened(url, schema) as database:
        database.change(verbs.pause(id))
    show.line("paused")


@command.command()
def resume(id: Id, url: Url = None, schema: Schema = "perdure") -> None:
    """Let a run go on that was paused or parked."""
    with opened(url, schema) as database:
        database.change(verbs.resume(id))
    show.line("resumed")


@command.command()
def retry(id: Id, url: Url = None, schema: Schema = "perdure") -> None:
    """Let a run that has failed do again what failed, and go on; make a step's next attempt now."""
    with opened(url, schema) as database:
        database.change(verbs.retry(id))
    show.line("goes on")


@command.command()
def skip(
    id: Id,
    step: Step,
    value: Value = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it is kept with the step.")] = None,
    url: Url = None,
    schema: Schema = "perdure",
) -> None:
    """Take a step that failed for done, with this result, and let the run go on."""
    with opened(url, schema) as database:
        database.change(verbs.skip(id, step, _value(value), note))
    show.line("goes on")


@command.command()
def rewind(id: Id, step: Step, url: Url = None, schema: Schema = "perdure") -> None:
    """Forget what a run has recorded from a step on, and let it do that again."""
    with opened(url, schema) as database:
        forgotten = database.change(verbs.rewind(id, step))
    show.line(f"forgot {', '.join(forgotten)}; goes on from there")


@command.command()
def fork(
    id: Id,
    new_id: Annotated[str, typer.Argument(metavar="NEW-ID", help="What the new run is called.")],
    step: Annotated[str | None, typer.Option(help="From this step on it does everything itself.")] = None,
    url: Url = None,
    schema: Schema = "perdure",
) -> None:
    """Start a run that has done what another had done before a step."""
    with opened(url, schema) as database:
        started = database.change(verbs.fork(id, step, new_id))
    show.line(f"{started.id} is job {started.job}")


@command.command()
def check(
    app: AppPath,
    name: Annotated[str | None, typer.Option(help="Runs of this workflow only.")] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all", help="Let runs of workflows that the app doesn't declare count, too: it is the only one."
        ),
    ] = False,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Replay the runs that live over an app's code, without doing anything: which of them would it not fit? Ends with 1
    if there is one. Runs of workflows that it doesn't declare at all may be another app's, and are only counted."""
    loaded = load_app(app)
    with opened(url, schema) as database:
        found = database.ask(verbs.check_runs(loaded.workflows, name))
    lenient = not every and name is None
    foreign = [each for each in found if each.foreign and lenient]
    wrong = [each for each in found if each.problem is not None and not (each.foreign and lenient)]
    if as_json:
        show.document(found)
    else:
        for each in wrong:
            show.line(f"{each.id} ({each.name}, version {each.version}): {each.problem}")
        own = len(found) - len(foreign)
        show.line(f"{own - len(wrong)} of {own} live runs would go on")
    if foreign:
        names = ", ".join(sorted({each.name for each in foreign}))
        show.say(
            f"passed over {len(foreign)} of workflows that {app} doesn't declare ({names}): another app's? "
            "--all counts them"
        )
    raise typer.Exit(1 if wrong else 0)


def _value(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return msgspec.json.decode(codec.accept(text))
    except Exception as error:
        raise InvalidOption(f"{text!r} is no JSON: {error}", field="JSON", fix="quote texts: '\"yes\"'") from None


def _attributes(said: list[str] | None) -> dict[str, Any] | None:
    """What runs are to say of themselves: a value is JSON where it is, and text otherwise."""
    if not said:
        return None
    pairs = [each.partition("=") for each in said]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise InvalidOption(f"{name!r} has no value", field="--attribute", fix="write --attribute stage=paid")
    return {name: _json_or_text(value) for name, _, value in pairs}


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _cells(run: Run) -> list[Any]:
    waits = ", ".join(run.waits_for) or (run.wake_at if run.wake_at else "")
    return [run.id, f"{run.name}/{run.version}", run.state, waits, run.created_at, gist(run.error) or ""]
