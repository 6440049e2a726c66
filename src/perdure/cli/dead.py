"""``perdure jobs redrive``, ``discard``: dead jobs, by id or by what they have in common; the book of who did."""

from __future__ import annotations

import getpass
import re
import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from ..app.client import dead, verbs
from ..core import check
from ..core.errors import InvalidOption
from ..jobs.letters import Act
from ..jobs.ops import letters
from . import show
from .acting import Reason, each_job
from .database import Database, opened
from .options import Json, Schema, Url

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID…]", help="These jobs; otherwise those chosen below.")]
Queue = Annotated[str | None, typer.Option(metavar="NAME", help="Of this queue.")]
Task = Annotated[str | None, typer.Option(metavar="NAME", help="Of this task.")]
Tag = Annotated[str | None, typer.Option(metavar="TAG", help="With this tag.")]
DiedOf = Annotated[str | None, typer.Option(metavar="REASON", help="Dead for this reason, as exhausted.")]
ErrorText = Annotated[str | None, typer.Option("--error", metavar="TEXT", help="With this in the last error.")]
DiedAfter = Annotated[str | None, typer.Option(metavar="TIME", help="Dead since then, as 2026-03-01T09:00+01:00.")]
DiedBefore = Annotated[str | None, typer.Option(metavar="TIME", help="Dead before then.")]
All = Annotated[bool, typer.Option("--all", help="Every dead job is meant.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many it would be.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
By = Annotated[str | None, typer.Option(metavar="WHO", help="Who does it; otherwise who is logged in.")]

_RATE = re.compile(r"([0-9.]+)(?:/(s|min|h))?")
_SECONDS = {None: 1, "s": 1, "min": 60, "h": 3_600}


def redrive(
    ids: Ids = None,
    queue: Queue = None,
    task: Task = None,
    tag: Tag = None,
    died_of: DiedOf = None,
    error: ErrorText = None,
    died_after: DiedAfter = None,
    died_before: DiedBefore = None,
    everything: All = False,
    rate: Annotated[str | None, typer.Option(metavar="N/s", help="So many a second (or /min, /h).")] = None,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """Run dead jobs again, from their first attempt: these, or all that are chosen."""
    filter = _filter(ids, queue, task, tag, died_of, error, died_after, died_before, everything, dry_run)
    if ids and rate is not None:
        raise InvalidOption("spreads what a filter chooses", field="--rate", fix="leave it out, or choose by a filter")
    if ids:
        each_job(ids, lambda id: verbs.redrive(id, _who(by)), "ready", url, schema, as_json)
    said: dict[str, Any] = {"by": _who(by), "everything": everything, "rate": None if rate is None else _rate(rate)}
    _do("redrive", filter, said, dry_run, yes, url, schema, as_json)


def discard(
    ids: Ids = None,
    queue: Queue = None,
    task: Task = None,
    tag: Tag = None,
    died_of: DiedOf = None,
    error: ErrorText = None,
    died_after: DiedAfter = None,
    died_before: DiedBefore = None,
    everything: All = False,
    reason: Reason = None,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """File dead jobs in history for good: these, or all that are chosen, for a reason."""
    filter = _filter(ids, queue, task, tag, died_of, error, died_after, died_before, everything, dry_run)
    if ids:
        each_job(ids, lambda id: verbs.discard(id, reason), "discarded", url, schema, as_json)
    if reason is None and not dry_run:
        raise InvalidOption("is missing", field="--reason", fix="say why these jobs are given up")
    said = {"by": _who(by), "everything": everything, "reason": reason}
    _do("discard", filter, said, dry_run, yes, url, schema, as_json)


def acts(
    limit: Annotated[int, typer.Option(min=1, max=dead.ACTS_MAX, help="How many to show.")] = 50,
    url: Url = None,
    schema: Schema = "perdure",
    as_json: Json = False,
) -> None:
    """List who redrove or discarded many jobs at once, the latest first."""
    with opened(url, schema) as database:
        found = database.ask(dead.acts(limit))
    if as_json:
        show.document(found)
        return
    show.table(
        ["act", "at", "by", "what", "jobs", "filter", "reason"],
        [[each.id, each.at, each.by, each.act, each.jobs, _said(each.filter), each.reason] for each in found],
        empty="nobody has",
    )


def _do(
    act: Act, filter: dict[str, Any], said: dict[str, Any], dry_run: bool, yes: bool,
    url: str | None, schema: str, as_json: bool,
) -> None:  # fmt: skip
    with opened(url, schema) as database:
        if dry_run:
            found = database.ask(letters.count(dead.chosen(filter)))
            _tell(act, found.chosen - found.left(act), None, found.left(act), as_json)
            return
        # Whoever gives a filter is asked with the figures below, or has said --yes to them.
        meant = said["everything"] or bool(filter)
        doing = database.ask(dead.begin(act, filter, **{**said, "everything": meant}))
        if not yes:
            _ask(database, act, filter)
        while database.change(letters.batch(doing)):
            pass
    _tell(act, doing.jobs, doing.entry, doing.runs, as_json)


def _ask(database: Database, act: Act, filter: dict[str, Any]) -> None:
    """Let whoever sits there say that it is meant; a program says so with --yes."""
    found = database.ask(letters.count(dead.chosen(filter)))
    meant = f"{act} {found.chosen - found.left(act):,} of {found.of:,} dead jobs"
    if not sys.stdin.isatty():
        raise InvalidOption(f"would {meant}", field="--yes", fix="say --yes, or --dry-run")
    typer.confirm(f"{meant}?", abort=True, err=True)


def _tell(act: Act, jobs: int, entry: int | None, runs: int, as_json: bool) -> None:
    """Say how many it was, or would be (no ``entry``); ``runs``: how many of workflows are left alone."""
    if as_json:
        show.document({"jobs": jobs, "act": entry, "runs": runs})
        return
    show.line(
        f"{jobs:,} jobs {'would be' if entry is None else 'are'} {'redriven' if act == 'redrive' else 'discarded'}"
    )
    if runs:
        show.line(f"{runs:,} runs of workflows are left alone: perdure workflows retry")


def _filter(
    ids: list[int] | None, queue: str | None, task: str | None, tag: str | None, died_of: str | None,
    error: str | None, died_after: str | None, died_before: str | None, everything: bool,
    dry_run: bool,
) -> dict[str, Any]:  # fmt: skip
    moments = {"died_after": _moment("--died-after", died_after), "died_before": _moment("--died-before", died_before)}
    said = {"queue": queue, "task": task, "tag": tag, "died_of": died_of, "error": error, **moments}
    filter = {option: value for option, value in said.items() if value is not None}
    if ids and (filter or everything):
        raise InvalidOption("are given together with a filter", field="ids", fix="give one or the other")
    if ids and dry_run:
        raise InvalidOption("counts what a filter chooses", field="--dry-run", fix="leave out the ids, or this")
    if not ids and not filter and not everything and not dry_run:
        raise InvalidOption(
            "is empty, and would choose every dead job",
            field="filter",
            fix="narrow it (--queue, --task, …), or say --all",
        )
    return filter


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return check.moment(option, datetime.fromisoformat(text))
    except ValueError:
        raise InvalidOption(f"{text!r} is no time", field=option, fix="write 2026-03-01T09:00+01:00") from None


def _who(by: str | None) -> str:
    try:
        return by or getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        raise InvalidOption("isn't known here", field="--by", fix="say who does it") from None


def _rate(text: str) -> float:
    """Jobs a second."""
    found = _RATE.fullmatch(text)
    try:
        rate = float(found[1]) / _SECONDS[found[2]] if found else 0.0
    except ValueError:  # 1.2.3
        rate = 0.0
    if not 0 < rate <= dead.RATE_MAX:
        fix = f"write 50/s, 600/min or 9000/h, at most {dead.RATE_MAX:,.0f}/s"
        raise InvalidOption(f"{text!r} is not allowed", field="--rate", fix=fix)
    return rate


def _said(filter: dict[str, Any]) -> str:
    return ", ".join(f"{option}={value}" for option, value in filter.items()) or "all"
