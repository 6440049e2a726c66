"""Unique keys: an enqueue that finds its key taken, keys that are let go of, and what a handler has done once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ...core import limits
from ...core.errors import DuplicateJob, LockTimeout, NotPermitted, StatementRefused, TransientError
from ...core.lock_waits import tell
from ...core.op import Op, Row, Statement, maybe, one, rows
from ...sql import statement
from .. import encode
from ..model import Enqueued, JobSpec
from .admission import admit

ROUNDS_MAX = 10
"""How often an enqueue goes back to a key that was freed, and that somebody else has taken before it could."""

KEYS_TOLD = 3
"""How many of a call's keys an error names, when it could be any of them."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The job that holds the key of the ``asked``-th one (from 1). ``free``: it needs it no more, and it was freed."""

    asked: int
    id: int
    place: str
    same: bool
    free: bool


def _written(row: Row) -> list[int | None] | None:
    """The ids of what was written, None for one whose key is taken; None in all when a queue is missing."""
    if not row["known"]:
        return None
    if row["won"] is None:  # all of them, as nearly always
        found: list[int | None] = row["ids"]
        return found
    won = set(row["won"])
    return [id if id in won else None for id in row["ids"]]


def _written_one(row: Row) -> list[int | None] | None:
    return [row["id"]] if row["known"] else None


ENQUEUE_UNIQUE_ONE: Statement[list[int | None] | None] = statement("jobs.enqueue_unique_one", _written_one)
ENQUEUE_UNIQUE_ALIKE: Statement[list[int] | None] = statement("jobs.enqueue_unique_alike", lambda row: row["ids"])
ENQUEUE_UNIQUE: Statement[list[int | None] | None] = statement("jobs.enqueue_unique", _written)
FREE_KEYS = statement("jobs.free_keys", lambda row: Holder(**row))
REPLACE = statement("jobs.replace", lambda row: int(row["id"]))
RELEASE_KEYS = statement("jobs.release_keys", lambda row: int(row["id"]))
SWEEP_KEYS = statement("jobs.sweep_keys", lambda row: (int(row["dropped"]), row["after"]))
ONCE = statement("jobs.once", lambda row: True)
FORGET_EFFECT = statement("jobs.forget_effect", lambda row: True)
FORGET_EFFECTS = statement("jobs.forget_effects", lambda row: int(row["forgotten"]))


def enqueue_free(specs: Sequence[JobSpec], wake: bool) -> Op[list[int] | None] | None:
    """Write jobs with unique keys in one statement as if all of these were free, which they nearly always are: that
    costs less than to be ready to meet one that is taken. Their ids, in order; None, and nothing is written, when a key
    is taken, or their queue has to be made or asked first.

    No op at all for jobs that differ in more than their arguments and keys.
    """
    said = encode.turned(specs)
    if not encode.alike_but_keys(said) or (shared := encode.shared_but_keys(specs[0], said)) is None:
        return None
    return _free(specs, {**shared, "wake": wake})


def _free(specs: Sequence[JobSpec], params: Mapping[str, Any]) -> Op[list[int] | None]:
    try:
        return (yield from maybe(ENQUEUE_UNIQUE_ALIKE, **params))
    except LockTimeout as error:
        _tell(error, specs)
        raise


def enqueue_unique(
    specs: Sequence[JobSpec], places: Sequence[int], found: dict[int, Enqueued], wake: bool, *, free: bool
) -> Op[None]:
    """Write those of the jobs at these places whose keys nobody holds, and note in ``found`` what became of each.

    Nearly always one statement, unless they are known not to be ``free``, all of them. A key that is taken is looked
    at; if nobody needs it any more it is freed, and asked for again. Raises DuplicateJob for one that says "raise";
    what was written until then stands in ``found``.
    """
    if free and len(places) > 1 and (op := enqueue_free([specs[place] for place in places], wake)) is not None:
        ids = yield from op
        if ids is not None:
            found.update(zip(places, map(Enqueued, ids), strict=True))
            return
    try:
        yield from _enqueue_unique(specs, places, found, wake)
    except LockTimeout as error:
        _tell(error, [specs[place] for place in places])
        raise


def _enqueue_unique(
    specs: Sequence[JobSpec], places: Sequence[int], found: dict[int, Enqueued], wake: bool
) -> Op[None]:
    taken: dict[int, Holder] = {}
    left = places
    for _ in range(ROUNDS_MAX):
        found.update((yield from _won(specs, left, wake)))
        if not (lost := [place for place in left if place not in found]):
            break
        taken.update((yield from _lost(specs, lost)))
        if not (left := [place for place in lost if place not in taken]):
            break
    else:
        raise TransientError("the unique keys of these jobs change hands all the time", field="unique")
    for place in sorted(taken):
        if specs[place].on_conflict == "raise":
            raise _duplicate(specs, place, taken[place], found)
    for place, holder in sorted(taken.items(), key=lambda each: (each[1].id, each[0])):
        found[place] = yield from _met(specs[place], holder, wake)


def _tell(error: LockTimeout, specs: Sequence[JobSpec]) -> None:
    """What these jobs have waited for in vain: the keys are theirs, so that it can be told in their words."""
    keys = [repr(spec.unique.key_for(spec.payload)) for spec in specs[:KEYS_TOLD] if spec.unique is not None]
    named = (
        keys[0]
        if len(specs) == 1
        else f"one of {len(specs)} keys ({', '.join(keys)}{', …' * (len(specs) > KEYS_TOLD)})"
    )
    tell(error, "unique_key", f"{named} is being written", field="unique", fix="enqueue in it: tx.jobs.enqueue(…)")


def _won(specs: Sequence[JobSpec], places: Sequence[int], wake: bool) -> Op[dict[int, Enqueued]]:
    """Those of the jobs at these places that got their key, and are written.

    A queue that is guarded is asked first, for those that need its room: what is there already doesn't.
    """
    written = yield from _write([specs[place] for place in places], {}, wake, admitted=False)
    if written is None:
        held = yield from _lost(specs, places)
        places = [place for place in places if place not in held]
        asking = [specs[place] for place in places]
        due = (yield from admit(asking)) if asking else {}
        written = (yield from _write(asking, due, wake, admitted=True)) if asking else []
    if written is None:
        raise StatementRefused("a queue could not be created", field="queue", fix="create it before this transaction")
    return {place: Enqueued(id) for place, id in zip(places, written, strict=True) if id is not None}


def _lost(specs: Sequence[JobSpec], places: Sequence[int]) -> Op[dict[int, Holder]]:
    """Who holds the keys of the jobs at these places; what nobody needs any more is freed."""
    holders = yield from _holders([specs[place] for place in places])
    return {places[holder.asked - 1]: holder for holder in holders if not holder.free}


def _write(
    specs: Sequence[JobSpec], due: Mapping[int, datetime | timedelta], wake: bool, *, admitted: bool
) -> Op[list[int | None] | None]:
    if len(specs) == 1 and not due:
        return (yield from one(ENQUEUE_UNIQUE_ONE, **encode.unique_scalars(specs[0]), wake=wake, admitted=admitted))
    params = {**encode.columns(encode.turned(specs)), **encode.uniques(specs)}
    if due:
        params.update(encode.dues(specs, due))
    return (yield from one(ENQUEUE_UNIQUE, **params, wake=wake, admitted=admitted))


def _holders(specs: Sequence[JobSpec]) -> Op[list[Holder]]:
    said = encode.uniques(specs)
    payloads = [spec.payload for spec in specs]
    return (yield from rows(FREE_KEYS, scopes=said["scopes"], uniques=said["uniques"], payloads=payloads))


def _met(spec: JobSpec, holder: Holder, wake: bool) -> Op[Enqueued]:
    """What becomes of a job whose key is taken: nothing, or the one that waits is given its arguments."""
    met = Enqueued(
        holder.id,
        duplicate=True,
        place=holder.place,
        differs=not holder.same,
        dropped_follow_ups=len(spec.follow_ups),
    )
    if spec.on_conflict != "replace":
        return met
    if (yield from _replaced(spec, holder, wake)):
        return msgspec.structs.replace(met, replaced=True, dropped_follow_ups=0)
    return met


def _replaced(spec: JobSpec, holder: Holder, wake: bool) -> Op[bool]:
    """Give the holder the arguments of this one, if it waits. Raises NotPermitted for a user that may enqueue, and no
    more."""
    try:
        return (yield from _replace(spec, holder, wake))
    except NotPermitted as error:
        raise NotPermitted(
            f'"replace" takes job {holder.id} out of its place, and this database user may only add jobs',
            sqlstate=error.sqlstate,
            field="on_conflict",
            fix='enqueue as a user that is granted perdure_worker, or say "skip" or "raise"',
        ) from error


def _replace(spec: JobSpec, holder: Holder, wake: bool) -> Op[bool]:
    said = encode.unique_scalars(spec) | {"id": holder.id, "wake": wake}
    replaced = yield from maybe(REPLACE, **said, admitted=False)
    if replaced is None and holder.place in ("ready", "scheduled", "held"):
        # It is being taken, or its queue has no row yet, or is guarded. It moves to the back, so it asks for room as a
        # newcomer does.
        if (when := (yield from admit([spec])).get(0)) is not None:
            said |= {"run_at": encode.moment(when), "delay": encode.period(when)}
            said |= {"options": encode.options(spec, put_off=isinstance(when, timedelta))}
        replaced = yield from maybe(REPLACE, **said, admitted=True)
    return replaced is not None


def _duplicate(specs: Sequence[JobSpec], place: int, holder: Holder, found: Mapping[int, Enqueued]) -> DuplicateJob:
    """The refusal. A key that another job of the same call has taken names that job's place in it: nothing of the call
    is left written, so there is no id to name."""
    spec = specs[place]
    key = "" if spec.unique is None else spec.unique.key_for(spec.payload)
    twin = next((each for each, job in found.items() if job.id == holder.id and not job.duplicate), None)
    if twin is not None:
        differs = "" if holder.same else ", which has other arguments"
        return DuplicateJob(
            f"{key!r} is taken by jobs[{twin}] of the same call{differs}",
            twin=twin,
            differs=not holder.same,
            field=f"jobs[{place}].unique",
            fix="give each key once, or say what else to do: on_conflict",
        )
    differs = "" if holder.same else ", and was enqueued with other arguments"
    return DuplicateJob(
        f"{key!r} is taken by job {holder.id}, which stands in {holder.place}{differs}",
        job_id=holder.id,
        place=holder.place,
        differs=not holder.same,
        field="unique",
        fix="wait until it is done, or say what else to do: on_conflict",
    )


def release_keys(ids: Sequence[int]) -> Op[None]:
    """Let go of the keys of jobs that are done, in the transaction that ends them. Those with a lifetime stay."""
    yield from rows(RELEASE_KEYS, ids=ids)


def sweep_keys(after: int, limit: int = limits.CHORE_BATCH_MAX) -> Op[tuple[int, int | None]]:
    """Drop keys that nobody needs, of jobs above an id: how many, and where to go on (None: at the beginning)."""
    return (yield from one(SWEEP_KEYS, after=after, limit=limit))


class Sweep:
    """The sweep of unique keys, which goes on where its last batch ended."""

    def __init__(self) -> None:
        self._after = 0

    def __call__(self, limit: int) -> Op[int]:
        """Drop what nobody needs of ``limit`` keys; fewer than that means that these were the last."""
        dropped, after = yield from sweep_keys(self._after, limit)
        self._after = after or 0
        return min(dropped, limit - 1) if after is None else limit


def once(handler: str, key: str, seconds: float) -> Op[bool]:
    """Whether this is the first time within so many seconds that the handler does something for the key."""
    params = {"handler": handler, "key": key, "lifetime": seconds}
    if (yield from maybe(ONCE, **params)) is not None:
        return True
    if (yield from maybe(FORGET_EFFECT, handler=handler, key=key)) is None:
        return False
    return (yield from maybe(ONCE, **params)) is not None


def forget_effects(limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Forget what handlers have done too long ago."""
    return (yield from one(FORGET_EFFECTS, limit=limit))
