"""Why is this job where it is, what will happen next, who holds it, and what is to be done?

The statement gathers the facts, ``judged`` makes an explanation of them: by place, and by the reason within it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.op import Op, Row, maybe
from ..jobs.budget import CHILDLESS, PUT_OFF, UNSERVED
from ..jobs.view import gist
from ..sql import statement
from ..workflows.ops.control import UNDONE
from . import reasons

AHEAD_MAX = 10_000
"""How far the jobs before one are counted."""

NAMES_MAX = 20
"""How many steps of a run are named of those that were undone, and of those that weren't."""

OVERDUE_SECONDS = 2.0
"""Past its due time a job is promoted within a second, where there is a worker."""

LOCKED_SECONDS = 2.0
"""A transaction that has had a job in its hands for longer is one that doesn't end by itself."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job is where it is. ``code`` is stable; ``because``, ``next`` and ``fix`` are sentences for people: the
    cause, what will happen by itself, and what somebody has to do (None: nothing). ``holder``: who has it in hand."""

    id: int
    place: str
    code: str
    because: str
    next: str
    fix: str | None = None
    holder: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


EXPLAIN = statement("admin.explain", lambda row: judged(row))


def explain(id: int) -> Op[Explanation | None]:
    """Why the job is where it is; None when there is none."""
    bounds = {"ahead_max": AHEAD_MAX, "names_max": NAMES_MAX, "locked_seconds": LOCKED_SECONDS}
    return (yield from maybe(EXPLAIN, id=id, **bounds))


def judged(facts: Row) -> Explanation:
    """The explanation of what is known about a job."""
    found = _locked(_PLACES[facts["place"]](facts), facts)
    if facts["unfollowed"] is None:
        return found
    told = f"{found.because}; what was to follow it can't be enqueued: {facts['unfollowed']}"
    return replace(
        found, because=told, fix=found.fix or "enqueue what was to follow: perdure report jobs.broken_chains"
    )


def _locked(found: Explanation, facts: Row) -> Explanation:
    """In whose hands it is, whoever wants to move it: a transaction's that doesn't end. A handler that runs may have
    one, and is left to it."""
    if facts["locked_by"] is None or found.code in ("running", "cancelling"):
        return found
    return replace(
        found, code="locked", because=f"{found.because}; {facts['locked_by']} has it locked in an open transaction",
        next="nothing moves it until that transaction has ended",
        fix="commit or roll back there; perdure report server.horizon says how to end it from outside",
    )  # fmt: skip


def _ready(facts: Row) -> Explanation:
    if facts["paused_at"] is not None:
        return _paused(facts)
    if not facts["workers"]:
        others = f"; {facts['living']} that live work on other queues, or drain" if facts["living"] else ""
        return _said(
            facts, "no_worker", f"no worker that lives works on the queue {facts['queue']}{others}",
            "the first worker that works on it claims it, in its turn",
            f"start one: perdure worker APP --queues {facts['queue']}:10",
        )  # fmt: skip
    expiring = facts["expires_in"]
    if expiring is not None and expiring <= 0:
        return _said(facts, "expired", "it is too old by now", "it ends as expired when its turn comes")
    ahead, slots = facts["ahead"], facts["slots"]
    lost, fix = _lost(facts)
    if not ahead:
        free = "a worker claims it as soon as a slot is free"
        return _said(facts, "next", f"it is the first in line{lost}", free, fix)
    count = f"at least {ahead}" if ahead >= AHEAD_MAX else str(ahead)
    return _said(
        facts, "behind_others", f"{count} jobs stand before it, for {slots} slots in {facts['workers']} workers{lost}",
        "it is claimed in its turn: jobs of a lower priority number first, then by arrival",
        fix or ("add workers or slots if that takes too long" if ahead > slots else None),
    )  # fmt: skip


def _lost(facts: Row) -> tuple[str, str | None]:
    """Which of the slots aren't to be had, as their workers' last beats say, and what is to be done about it."""
    if not facts["lost"]:
        return "", None
    told = f"; slots that are lost to handlers which go on after their jobs have ended: {facts['lost']}"
    return told, "perdure report workers.lost names the workers, whose restart frees the slots"


def _paused(facts: Row) -> Explanation:
    return _said(
        facts, "paused", f"the queue {facts['queue']} is paused",
        "it is claimed, in its turn, when the queue is resumed", f"perdure queues resume {facts['queue']}",
    )  # fmt: skip


def _scheduled(facts: Row) -> Explanation:
    if facts["in_line"]:
        if facts["paused_at"] is not None:
            return _paused(facts)
        return _said(
            facts, "queue_full", f"the queue {facts['queue']} was full, and this job waits in line for room in it",
            "it goes to ready, in its turn, as soon as there is room", "add workers, or raise the queue's max_depth",
        )  # fmt: skip
    due = facts["due_in"]
    when = f"in {due:.0f} s" if due > 0 else f"{-due:.0f} s ago"
    if due < -OVERDUE_SECONDS and facts["living"]:
        return _said(
            facts, "overdue", f"it was due {when}, and hasn't been moved to ready: promotion is behind, or fails",
            "it is moved as soon as its turn comes", "perdure chores shows whether promote fails, and of what",
        )  # fmt: skip
    if due < -OVERDUE_SECONDS:
        return _said(
            facts, "overdue", f"it was due {when}, and no worker lives to move it to ready",
            "the first worker moves it within a second", "start a worker: perdure worker APP",
        )  # fmt: skip
    code, because = _put_off(facts)
    return _said(
        facts, code, f"{because}; it is due {when}", "it goes to ready when it is due",
        f"perdure jobs retry {facts['id']} runs it now" if due > 0 else None,
    )  # fmt: skip


def _put_off(facts: Row) -> tuple[str, str]:
    """Why it is due later. A redrive leaves the job's attempts in the log, counts its own anew, and says in the context
    who asked for it; what was enqueued under the same id later has another context."""
    ending = facts["last_ending"]
    if facts["replayed_by"] and facts["generation"] and not facts["rescues"] and ending in (None, "dead", "rescued"):
        return "redriven", f"{facts['replayed_by']} has dead jobs run again, so many a second"
    if facts["put_off"] and ending is None:
        return "put_off", f"the queue {facts['queue']} was full when it was enqueued, and puts off what it can't take"
    told = gist(facts["last_error"])
    if ending in ("snooze", "returned") and facts["last_error"] == PUT_OFF:
        return "retry_budget", f"the retry budget of the queue {facts['queue']} is spent, so its retry is put off"
    if ending == "snooze" and (facts["last_error"] or "").startswith(UNSERVED):
        return "no_connection", f"it was {told}; no attempt was charged"
    if ending == "snooze" and (facts["last_error"] or "").startswith(CHILDLESS):
        return "no_child", f"it was {told}; no attempt was charged"
    if ending == "returned" and facts["rescues"]:
        return "suspect", f"it may have been running when its worker was lost, so it is to run alone: {told}"
    return {
        "retry": ("retrying", f"attempt {facts['attempt']} failed ({told})"),
        "snooze": ("snoozed", f"its handler asked to run later ({told})" if told else "its handler asked to run later"),
        "rescued": ("rescued", f"it has lost its worker {facts['rescues']} times in a row"),
    }.get(ending or "", ("delayed", "it was enqueued for later"))


def _leased(facts: Row) -> Explanation:
    holder = f"worker {facts['worker']} ({facts['worker_name']}), lease {facts['lease']}"
    held = f"for {facts['held_by_lease_for'] or 0:.0f} s"
    taken = "it must not run twice: if it may have begun, it is dead then, to be reviewed"
    taken = taken if facts["once"] else "no attempt is charged"
    if facts["worker_state"] not in ("alive", "draining"):
        return _said(
            facts, "worker_gone", "the worker that held it is gone",
            f"{'any' if facts['living'] else 'the first'} worker takes it back within a second; {taken}",
            None if facts["living"] else "start a worker: perdure worker APP", holder,
        )  # fmt: skip
    if facts["silent_in"] < 0:
        return _said(
            facts, "worker_silent", f"the worker that holds it is {-facts['silent_in']:.0f} s overdue",
            f"{'another' if facts['living'] else 'the first'} worker declares it dead and takes the job back; {taken}",
            None if facts["living"] else "start a worker: perdure worker APP", holder,
        )  # fmt: skip
    if facts["cancel_asked"] is not None:
        return _said(
            facts, "cancelling", f"{holder} has it {held}, and was asked to stop it {facts['cancel_asked']:.0f} s ago",
            "it ends as cancelled when its handler stops; a thread has to ask ctx.cancelled", None, holder,
        )  # fmt: skip
    return _said(
        facts, "running", f"{holder} has it {held}: it runs, or is one of the next to run there",
        "it ends as its handler does", None, holder,
    )  # fmt: skip


def _waiting(facts: Row) -> Explanation:
    if facts["run_paused_at"] is not None:
        return _said(
            facts, "run_paused", f"the run {facts['run']} is paused", "nothing, until it is resumed",
            f"perdure workflows resume {shlex.quote(facts['run'])}",
        )  # fmt: skip
    waits, wakes = facts["waits_for"], facts["wakes_in"]
    if waits is None and wakes is None:
        because = "waits, and nothing says for what, as a server leaves it that took over without the last commits"
        return _said(
            facts, "waiting_for_nothing", f"the run {facts['run']} {because}",
            "nothing, until it is resumed; then it asks anew", f"perdure workflows resume {shlex.quote(facts['run'])}",
        )  # fmt: skip
    until = "" if wakes is None else f", or for its moment in {wakes:.0f} s"
    fix = None if wakes is not None else "send what it waits for"
    if facts["tries_again"]:
        fix = f"perdure workflows retry {shlex.quote(facts['run'])} makes the next attempt now, if the cause is mended"
    return _said(
        facts, "waiting", f"the run {facts['run']} waits for {waits or 'its next step'}{until}",
        "it goes on within a moment of whatever comes first", fix,
    )  # fmt: skip


def _held(facts: Row) -> Explanation:
    reason, known = facts["reason"], _named(facts)
    because, next, fix = (reasons.HELD if facts["run"] is None else reasons.HELD_RUN).get(
        reason, reasons.OTHERWISE_HELD
    )
    if reason == "invalid" and known.get("misfit"):
        fix = reasons.MISFIT_RUN
    if reason == "diverged" and facts["first_undone"] is not None and facts["cancel_asked"] is None:
        fix += reasons.AGAIN_RUN
    return _said(facts, reason, because.format_map(known), next.format_map(known), fix.format_map(known))


def _named(facts: Row) -> dict[str, Any]:
    """The facts, with what commands call the job or its run, and its steps."""
    if facts["run"] is None:
        return {**facts, "noun": "jobs", "name": facts["id"]}
    trouble = gist(facts["run_trouble"]) or facts["reason"]
    step, misfit = (
        facts["failed_step"] or "STEP",
        trouble.partition(reasons.MISFIT)[0] if reasons.MISFIT in trouble else "",
    )
    said = {"name": facts["run"], "step": step, "misfit": misfit, "first_undone": facts["first_undone"] or ""}
    typed = {word: shlex.quote(each) if each else "" for word, each in said.items()}
    return {**facts, **typed, "noun": "workflows", "trouble": trouble, "undone": _undone(facts)}


def _undone(facts: Row) -> str:
    """What a run has undone, and what is owed still."""
    undone, undoing, standing = (facts[each] or [] for each in ("undone", "undoing", "standing"))
    if not undone and not undoing:
        return "; nothing was undone" if facts["reason"] in ("invalid", "diverged") else ""
    owed = ", ".join(f"{each} (begun)" for each in undoing)
    if standing:
        owed += f"{', and ' if owed else ''}what of {', '.join(standing)} is to be compensated"
    return f"; undone so far: {', '.join(undone) or 'nothing'}; owed: {owed or 'nothing'}"


def _dead(facts: Row) -> Explanation:
    reason, told = facts["reason"], gist(facts["error"])
    if facts["run"] is None:
        because, fix = reasons.DEAD.get(reason, reason), reasons.DEAD_FIXES.get(reason, reasons.MENDED)
    else:
        because, fix = (
            reasons.DEAD_RUN.get(reason, reason),
            reasons.UNDONE_RUN if reason in UNDONE else reasons.MENDED_RUN,
        )
    undone = _undone(facts) if reason == "compensation_failed" else ""
    return _said(
        facts, reason, f"{because}: {told}" if told else because,
        f"nothing, until somebody acts{undone}{_following(facts)}", fix.format_map(_named(facts)),
    )  # fmt: skip


def _history(facts: Row) -> Explanation:
    told = f": {gist(facts['error'])}" if facts["error"] else ""
    kept = f"nothing: it stands in history until its day is dropped{_following(facts)}"
    return _said(facts, facts["outcome"], f"it has ended as {facts['outcome']}{told}", kept)


def _following(facts: Row) -> str:
    """What is still to follow a job that has ended."""
    if not facts["following"]:
        return ""
    told = "is enqueued once its queue has room, which is looked for every five minutes"
    return f"; what is to follow it ({facts['following']}) {told}"


def _said(
    facts: Row, code: str, because: str, next: str, fix: str | None = None, holder: str | None = None
) -> Explanation:
    evidence = {name: value for name, value in facts.items() if value is not None}
    return Explanation(facts["id"], facts["place"], code, because, next, fix, holder, evidence)


_PLACES = {
    "ready": _ready, "scheduled": _scheduled, "leased": _leased, "held": _held, "waiting": _waiting, "dead": _dead,
    "history": _history,
}  # fmt: skip
