"""``perdure jobs``: look at jobs, and act on one or several of them."""

from __future__ import annotations

import time
from typing import Annotated, get_args

import typer

from ..app.client import pauses, verbs
from ..jobs.view import Job, Place, gist
from ..runtime.clock import monotonic
from ..runtime.dice import roll
from . import dead, following, show
from .acting import Reason, each_job
from .database import opened
from .options import Json, Schema, Url, noun

COLUMNS = ["id", "task", "queue", "key", "place", "outcome", "attempt", "created", "error"]

Id = Annotated[int, typer.Argument(metavar="ID", help="The job's id.")]
Ids = Annotated[list[int], typer.Argument(metavar="ID…", help="One id, or several.")]

command = noun("Jobs: look at them, cancel, retry, redrive, discard, wait. Without a verb they are listed.")


command.command()(dead.redrive)
command.command()(dead.discard)
command.command()(dead.acts)
command.command()(following.progress)


@command.callback()
def _jobs() -> None: ...


@command.command("list")
def list_(
    queue: Annotated[str | None, typer.Option(help="Of this queue only.")] = None,
    place: Annotated[str | None, typer.Option(help=f"In this place only: {', '.join(get_args(Place))}.")] = None,
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
    tag: Annotated[str | None, typer.Option(help="With this tag only.")] = None,
    cursor: Annotated[
        int | None, typer.Option(metavar="ID", help="Those before this one: where the page before ended.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=verbs.PAGE_ROWS_MAX, help="How many to show.")] = 50,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """List jobs, newest first, a page at a time."""
    with opened(url, schema) as database:
        page = database.ask(verbs.list_jobs(queue, place, task, tag, cursor, limit))
    if as_json:
        show.document({"jobs": list(page), "next": page.next})
        return
    show.table(COLUMNS, [_cells(job) for job in page], empty="no such job")
    if page.next is not None:
        show.say(f"there are more: --cursor {page.next}")


@command.command()
def get(id: Id, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Show all there is to know about one job."""
    with opened(url, schema) as database:
        job = database.ask(verbs.get(id))
    if as_json:
        show.document(job)
    else:
        show.facts([(name.replace("_", " "), show.fact(getattr(job, name))) for name in job.__dataclass_fields__])


@command.command()
def attempts(id: Id, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """List how a job's attempts have ended, those that didn't complete it."""
    with opened(url, schema) as database:
        database.ask(verbs.get(id))
        found = database.ask(verbs.attempts(id))
    if as_json:
        show.document(found)
        return
    show.table(
        ["attempt", "ending", "started", "ended", "worker", "lease", "generation", "error"],
        [
            [each.attempt, each.ending, each.started_at, each.ended_at, each.worker, each.lease, each.generation,
             gist(each.error)]
            for each in found
        ],
        empty="no attempt has ended without completing it",
    )  # fmt: skip


@command.command()
def cancel(ids: Ids, reason: Reason = None, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Cancel jobs: what waits ends, what runs is asked to stop.

    "finished" and "dead" are answers, too: it was too late, and nothing was done.
    """
    each_job(ids, lambda id: verbs.cancel(id, reason), None, url, schema, as_json)


@command.command()
def retry(ids: Ids, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Run jobs now: what is scheduled without waiting, what is dead again from its first attempt, and what was
    parked for its missing context."""
    each_job(ids, verbs.retry, "ready", url, schema, as_json)


@command.command()
def pause(ids: Ids, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Let jobs run no further until they are resumed. What runs stops at its next checkpoint, and keeps it."""
    each_job(ids, pauses.pause, None, url, schema, as_json)


@command.command()
def resume(ids: Ids, url: Url = None, schema: Schema = "perdure", as_json: Json = False) -> None:
    """Let paused jobs go on from their last checkpoint."""
    each_job(ids, pauses.resume, None, url, schema, as_json)


@command.command()
def wait(
    id: Id,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="How long; otherwise until it has ended.")
    ] = None,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Wait until a job has completed, and write its result: a text as it is, anything else as JSON."""
    waiting = verbs.Waiting(id, timeout, monotonic())
    with opened(url, schema) as database:
        while (pause := waiting.pause(job := database.ask(verbs.get(id)), monotonic(), roll())) is not None:
            time.sleep(pause)
    if isinstance(job.result, str) and not as_json:
        show.line(job.result)
    else:
        show.document(job.result)


def _cells(job: Job) -> list[object]:
    return [
        job.id, job.task, job.queue, job.key, job.place, job.outcome or job.reason, job.attempt, job.created_at,
        gist(job.error),
    ]  # fmt: skip
