"""What each verb of the noun ``workflows`` does, once for both colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, get_args

import msgspec

from ...core import check, limits
from ...core.codec import encode
from ...core.errors import InvalidOption, JobNotFound, WaitTimeout
from ...core.op import Op
from ...core.run_errors import (
    UpdateRefused,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowNotFound,
    WorkflowState,
)
from ...jobs.ops import control as job_control
from ...jobs.ops.whole import whole
from ...jobs.view import gist
from ...runtime.dice import seeded
from ...workflows.check import Checked, Flow, checked
from ...workflows.compensate import undo_name
from ...workflows.model import Conflict, Moment, Run, RunSpec, Started, task_name
from ...workflows.ops import after, control, inbox, listing, record
from ...workflows.ops import start as starting
from ...workflows.ops.listing import STATES
from .verbs import ID_MAX, Looks, Page, page_limit

CHECK_BATCH = 200
"""Histories that a check loads at a time."""

WAIT_FIX = "wait longer, or see that a worker runs its queue"
PARKED_FIX = "let a worker with code that fits it run, then resume it"

PAUSED = "is paused"
"""How a run stands that answers no update until it is resumed."""

UNDONE = ("compensated", "compensation_failed", "deadline", "cancelled")
"""How runs stand whose end was to be compensated."""


def start(
    spec: object,
    id: str,
    conflict: Conflict,
    deadline: datetime | timedelta | float | None,
    options: Mapping[str, Any],
) -> Op[Started]:
    """Start a run. Raises InvalidOption or WorkflowExists."""
    made = _spec(spec, options)
    if conflict not in get_args(Conflict):
        raise InvalidOption(f"{conflict!r} is not allowed", field="on_conflict", fix="give join, reject or replace")
    bound = None if deadline is None else check.expiry("deadline", deadline)
    said = options.get("attributes")
    [started] = yield from starting.start(
        made, [_id(id)], [made.payload], conflict=conflict, deadline=bound, attributes=_attributes(said)
    )
    return started


def start_many(runs: Iterable[tuple[object, str]]) -> Op[list[Started]]:
    """Start many runs, each (spec, id); those that there are already are joined."""
    pairs = [(_spec(spec, {}), _id(id)) for spec, id in map(_pair, runs)]
    seen: set[str] = set()
    for _, id in pairs:
        if id in seen:
            raise InvalidOption(f"{id!r} is given twice", field="id", fix="give each run its own id")
        seen.add(id)
    groups: dict[RunSpec, list[int]] = {}
    for place, (spec, _) in enumerate(pairs):
        groups.setdefault(msgspec.structs.replace(spec, payload="{}"), []).append(place)
    started = _groups(pairs, groups)
    return (yield from (whole(started) if len(pairs) > 1 else started))


def _groups(pairs: Sequence[tuple[RunSpec, str]], groups: Mapping[RunSpec, Sequence[int]]) -> Op[list[Started]]:
    found: dict[int, Started] = {}
    for spec, places in groups.items():
        for first in range(0, len(places), limits.ENQUEUE_STATEMENT_ROWS_MAX):
            batch = places[first : first + limits.ENQUEUE_STATEMENT_ROWS_MAX]
            started = yield from starting.start(
                spec, [pairs[place][1] for place in batch], [pairs[place][0].payload for place in batch]
            )
            found.update(zip(batch, started, strict=True))
    return [found[place] for place in range(len(pairs))]


def get(id: str) -> Op[Run]:
    """One run. Raises WorkflowNotFound."""
    run = yield from listing.get(_id(id))
    return _missing(id) if run is None else run


def list_runs(
    name: str | None, state: str | None, attributes: Mapping[str, Any] | None, cursor: int | None, limit: int
) -> Op[Page[Run]]:
    """One page, newest first. Raises InvalidOption."""
    if state is not None and state not in STATES:
        raise InvalidOption(f"{state!r} is no state", field="state", fix=f"give one of {', '.join(STATES)}")
    if name is not None:
        check.text("name", name, limits.TASK_NAME_CHARS_MAX)
    if cursor is not None and (isinstance(cursor, bool) or not isinstance(cursor, int) or not 0 < cursor <= ID_MAX):
        raise InvalidOption(f"{cursor!r} is no cursor", field="cursor", fix="give `next` of the page before")
    found, then = yield from listing.page(
        name=name, state=state, attributes=_attributes(attributes), cursor=cursor, limit=page_limit(limit)
    )
    return Page(found, then)


def signal(id: str, name: str, payload: object, key: str | None) -> Op[bool]:
    """Send a signal; False when one of this key was sent before. Raises WorkflowNotFound or WorkflowFinished."""
    check.text("name", name, limits.SIGNAL_NAME_CHARS_MAX)
    if key is not None:
        check.text("key", key, limits.KEY_CHARS_MAX)
    sent = yield from inbox.signal(_id(id), name, encode(payload, field="payload"), key)
    if sent == "missing":
        _missing(id)
    if sent == "finished":
        raise WorkflowFinished("has ended, so nothing reads its signals", id=id, field=id, fix="start another run")
    return sent == "sent"


def callback(token: str, payload: object) -> Op[bool]:
    """Answer for somebody who was given a token. Raises WorkflowNotFound for a token that is none."""
    job, _, _ = str(token).removeprefix("wf_").partition("_")
    found = None
    if str(token).startswith("wf_") and job.isdecimal() and len(job) < 19:
        found = yield from inbox.token(int(job), token)
    if found is None:
        raise WorkflowNotFound("is no token of a run that is kept", field="token", fix="give what wf.token returned")
    return (yield from signal(found[0], found[1], payload, token))


def query(id: str, name: str | None) -> Op[Any]:
    """What the run says of itself: one of its attributes, or all of them."""
    attributes = (yield from get(id)).attributes
    if name is None:
        return dict(attributes)
    if name not in attributes:
        known = ", ".join(sorted(attributes)) or "none"
        raise InvalidOption(f"the run says nothing of {name!r}", field="name", fix=f"it says {known}")
    return attributes[name]


def send_update(id: str, name: str, payload: object) -> Op[int]:
    """Send an update; its number. Raises WorkflowNotFound or WorkflowFinished."""
    check.text("name", name, limits.SIGNAL_NAME_CHARS_MAX)
    sent = yield from inbox.update(_id(id), name, encode(payload, field="payload"))
    if sent == "missing":
        _missing(id)
    if isinstance(sent, str):
        raise WorkflowFinished("has ended, so nothing answers updates", id=id, field=id, fix="start another run")
    return sent


def cancel(id: str, reason: str | None, force: bool) -> Op[str]:
    """Ask a run to end, and its children with it; a dead one is filed. One that is paused or parked goes on for that.
    Raises WorkflowNotFound."""
    run = yield from get(id)
    said = None if reason is None else check.text("reason", reason, limits.REASON_CHARS_MAX)
    if run.place == "dead":
        yield from job_control.discard(run.job, said)
        yield from after.tell([run.job], {run.job: run.failed_step}, [run.job])  # its parent may ask much later
        return "discarded"
    answer = yield from job_control.cancel(run.job, said, force=force)
    if answer == "missing":
        raise JobNotFound("its job isn't kept", job_id=run.job, field=id)
    if answer == "requested":
        yield from control.resume(run.job)
    elif answer == "cancelled":
        yield from after.tell([run.job], {}, [run.job])
    return answer


def pause(id: str) -> Op[None]:
    """Let a run go no further than its next step. Raises WorkflowNotFound or WorkflowFinished."""
    yield from control.pause((yield from _alive(id)).job)


def resume(id: str) -> Op[None]:
    """Let a paused or parked run go on. Raises WorkflowNotFound or WorkflowFinished."""
    yield from control.resume((yield from _alive(id)).job)


def retry(id: str) -> Op[None]:
    """Do again what failed, and go on; what is to be tried again later is tried now. Raises WorkflowNotFound, or
    WorkflowState when nothing has failed."""
    run = yield from get(id)
    at = yield from control.place(run.job)
    if at == "waiting" and (yield from control.hurry(run.job)):
        return
    if at not in ("dead", "held"):
        fix = "retry what has failed, is parked, or waits for a step's next attempt"
        raise WorkflowState(f"is {run.state}", id=id, field=id, fix=fix)
    _not_undone(run)
    yield from control.retry(run.job, at, run.failed_step)


def skip(id: str, step: str, result: object, note: str | None) -> Op[None]:
    """Take a step that failed for done. Raises WorkflowNotFound or WorkflowState."""
    run = yield from get(id)
    at = yield from control.place(run.job)
    if at not in ("dead", "held", "waiting"):
        raise WorkflowState(f"is {run.state}", id=id, field=id, fix="skip a step of a run that has failed or waits")
    _not_undone(run)
    said = None if note is None else check.text("note", note, limits.REASON_CHARS_MAX)
    if not (yield from control.skip(run.job, at, step, encode(result, field="result"), said)):
        raise WorkflowState("has no such step that failed", id=id, field=step, fix="see its timeline")


def rewind(id: str, step: str) -> Op[list[str]]:
    """Forget what was recorded from a step on, and go on from there. Raises WorkflowNotFound or WorkflowState."""
    run = yield from get(id)
    at = yield from control.place(run.job)
    if at is None or at == "leased":
        state = "has ended" if at is None else "is running"
        raise WorkflowState(state, id=id, field=id, fix="fork it" if at is None else "pause it first, or fork it")
    yield from _reaches(run, step)
    return (yield from control.rewind(run.job, at, step))


def fork(id: str, step: str | None, new_id: str) -> Op[Started]:
    """Start a run that has done what this one had done before a step. Raises WorkflowNotFound, WorkflowExists."""
    run = yield from get(id)
    if step is not None or run.state in UNDONE:
        yield from _reaches(run, step)
    else:
        yield from _undoes_nothing(run)
    return (yield from starting.fork(run.job, step, _id(new_id)))


def timeline(id: str) -> Op[list[Moment]]:
    """What a run has recorded, in order. Raises WorkflowNotFound."""
    return (yield from control.timeline((yield from get(id)).job))


def check_runs(flows: Mapping[str, Flow], name: str | None) -> Op[list[Checked]]:
    """What a replay of every live run over these workflows says; nothing is done."""
    found: list[Checked] = []
    last = 0
    while plans := (yield from control.live(last, CHECK_BATCH, name)):
        loaded = yield from record.load([plan.job for plan in plans], activates=False)
        for plan, history in zip(plans, loaded, strict=True):
            if not isinstance(history, Exception):  # it may have ended meanwhile
                found.append(checked(plan, history, flows, task_name(plan.name, plan.version), seeded))
        last = plans[-1].job
    return found


class Waiting:
    """The wait for one run's end, without the waiting."""

    def __init__(self, id: str, timeout: float | None, now: float) -> None:
        self._looks = Looks(timeout, now)
        self.id = _id(id)

    def pause(self, run: Run, now: float, dice: float) -> float | None:
        """Seconds to pause, or None when the run has completed. Raises WorkflowFailed or WaitTimeout."""
        if run.finished:
            self._judge(run)
            return None
        if run.state == "parked":
            return self.again(now, dice, f"is parked: {gist(run.error) or run.reason}", PARKED_FIX)
        return self.again(now, dice, PAUSED if run.state == "paused" else f"stands in {run.place}")

    def again(self, now: float, dice: float, state: str, fix: str = WAIT_FIX) -> float:
        """Seconds to pause before the next look. Raises WaitTimeout."""
        pause = self._looks.pause(now, dice)
        if pause is None:
            raise WaitTimeout(
                f"hadn't ended after {self._looks.timeout:g} s, and {state}",
                field=f"workflow {self.id}",
                fix="resume it: it goes on then" if state == PAUSED else fix,
            )
        return pause

    def _judge(self, run: Run) -> None:
        if run.outcome == "completed":
            return
        if run.state == "forgotten":
            raise WorkflowNotFound(
                "has ended, and what came of it isn't kept any more",
                id=run.id, field=f"workflow {run.id}", fix="ask sooner, or keep the history of its queue for longer",
            )  # fmt: skip
        kind = WorkflowCancelled if run.outcome == "cancelled" else WorkflowFailed
        told = gist(run.error)
        ended = f"was {run.state}" if run.place == "history" else f"has failed ({run.reason})"
        raise kind(
            f"{ended}: {told}" if told else ended,
            id=run.id,
            reason=run.reason or run.outcome,
            error=run.error,
            field=f"workflow {run.id}",
            fix=f"see perdure timeline {run.id}" if run.place == "dead" else None,
        )


def judged(answer: inbox.Answer | None, id: str, name: str) -> tuple[bool, Any]:
    """Whether an update has its answer, and what that is, or how its run stands. Raises UpdateRefused or
    WorkflowFinished."""
    if answer is None:
        _missing(id)
    if answer.refusal is not None:
        raise UpdateRefused(answer.refusal, id=id, field=name)
    if answer.answered:
        return True, None if answer.answer is None else msgspec.json.decode(answer.answer)
    if answer.ended:
        raise WorkflowFinished("has ended without answering", id=id, field=name, fix="look at its timeline")
    return False, PAUSED if answer.paused else "hasn't answered"


def _pair(given: object) -> tuple[object, str]:
    if not isinstance(given, tuple) or len(given) != 2:
        raise InvalidOption(f"got {type(given).__name__}", field="runs", fix="give pairs: (checkout.run(…), id)")
    return given


def _spec(spec: object, options: Mapping[str, Any]) -> RunSpec:
    if not isinstance(spec, RunSpec):
        raise InvalidOption(
            f"got {type(spec).__name__}", field="workflow", fix="give what run(…) of a workflow returns"
        )
    changes = {name: value for name, value in options.items() if name != "attributes"}
    checks: dict[str, Callable[[Any], Any]] = {
        "queue": lambda value: check.name("queue", value, limits.QUEUE_NAME_CHARS_MAX),
        "key": lambda value: check.text("key", value, limits.KEY_CHARS_MAX),
        "priority": lambda value: check.priority("priority", value),
        "tags": lambda value: check.tags("tags", value),
    }
    for option in changes.keys() - checks.keys():
        known = ", ".join(sorted([*checks, "attributes", "deadline", "on_conflict"]))
        raise InvalidOption("is not an option of a run", field=option, fix=f"use {known}")
    return msgspec.structs.replace(spec, **{name: checks[name](value) for name, value in changes.items()})


def _attributes(given: object) -> str | None:
    """Attributes, checked and encoded. Raises InvalidOption, Unserialisable or PayloadTooLarge."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidOption(f"got {type(given).__name__}", field="attributes", fix="give values by name")
    return encode(dict(given), field="attributes", bytes_max=limits.RUN_ATTRIBUTES_BYTES_MAX)


def _alive(id: str) -> Op[Run]:
    run = yield from get(id)
    if run.finished:
        raise WorkflowFinished(f"is {run.state}", id=id, field=id, fix="retry, rewind or fork it")
    return run


def _not_undone(run: Run) -> None:
    """A run whose steps were compensated can't go on as if they stood."""
    if run.reason in control.UNDONE:
        fix = "fork it from the first step that was undone, or start another run"
        raise WorkflowState(f"is {run.reason}: what it had done was undone", id=run.id, field=run.id, fix=fix)


def _reaches(run: Run, step: str | None) -> Op[None]:
    """The step is recorded, and what stands before it (all, without one) hasn't been undone since."""
    names = [each.name for each in (yield from control.timeline(run.job))]
    if step is not None and step not in names:
        raise WorkflowState(
            f"has recorded no step {step!r}", id=run.id, field="step", fix=f"it has {', '.join(names) or 'none'}"
        )
    at = len(names) if step is None else names.index(step)
    undone = [name for name in names[:at] if undo_name(name) in (names if step is None else names[at:])]
    if undone:
        fix = f"begin at {undone[0]!r}, or before it"
        raise WorkflowState(f"has undone {', '.join(undone)}", id=run.id, field="step", fix=fix)


def _undoes_nothing(run: Run) -> Op[None]:
    """No compensation of it has begun and not ended: a copy wouldn't know of that, and would go on."""
    for each in (yield from control.timeline(run.job)):
        if each.kind == "undo" and each.ended_at is None:
            fix = "fork it from before the first step that is undone, or let it end"
            raise WorkflowState(f"has begun to {each.name}", id=run.id, field="step", fix=fix)


def _id(value: object) -> str:
    return check.text("id", value, limits.RUN_ID_CHARS_MAX)


def _missing(id: str) -> NoReturn:
    raise WorkflowNotFound(
        f"there is no run {id!r}", id=id, field="id", fix="give the id that it was started with, while it is kept"
    )
