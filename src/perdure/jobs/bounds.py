"""What a queue may hold: what is declared of it, what it may still take, and what is to be done with the rest. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from math import inf
from typing import Final, Literal, Protocol, TypeAlias, get_args

import msgspec

from ..core import check, context, limits
from ..core.errors import ContextMissing, InvalidOption, QueueSaturated
from ..core.op import Row
from .model import JobSpec

WhenFull: TypeAlias = Literal["reject", "block", "shed_lowest", "delay", "spill"]
"""What becomes of a job for a full queue: its enqueue fails, or waits for room and then fails; a less urgent job gives
way; it becomes due later; it waits in line until the queue has room."""

LINE: Final = limits.MOMENT_MAX
"""Jobs in line stand in ``scheduled`` under this moment and their queue's number in seconds, which nobody can name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is declared of one queue. ``max_depth``: jobs that may wait in it; ``max_age``, ``deadline``: seconds."""

    name: str
    unlimited: bool = False
    max_depth: int | None = None
    max_age: float | None = None
    when_full: WhenFull | None = None
    deadline: float | None = None
    retention_days: int | None = None
    tenant_required: bool = False

    def __str__(self) -> str:
        """The rule in words, for people."""
        if self.when_full is None:
            return "without a bound" if self.unlimited else "no bound declared"
        bound = [f"{self.max_depth:,} jobs" if self.max_depth else "", f"{self.max_age:g} s" if self.max_age else ""]
        patience = f" for {self.deadline:g} s" if self.deadline else ""
        return f"at most {' and '.join(filter(None, bound))}, then {self.when_full}{patience}"


State: TypeAlias = Literal["open", "paused", "stalled", "full", "in_debt"]
"""How a queue does: it keeps up; nobody may claim from it; nobody does; it has no room; it doesn't keep up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue: how many jobs stand in each of its places, what is declared of it, and how it moves.

    ``line``: those of the scheduled ones that wait for room. ``oldest_seconds``: for how long the oldest ready job has
    been ready. ``ended_per_second``, ``arrived_per_second``: attempts that end, and jobs that become ready, as the
    workers measure it over the last seconds and the last minute; None where nobody has measured.
    ``drain_seconds``: how long what is ready would take if nothing more came, None when nothing drains.
    """

    name: str
    state: State
    paused_at: datetime | None
    ready: int
    scheduled: int
    line: int
    leased: int
    held: int
    waiting: int
    dead: int
    oldest_seconds: float | None
    workers: int
    ended_per_second: float
    arrived_per_second: float | None
    drain_seconds: float | None
    rule: Rule

    @classmethod
    def read(cls, row: Row) -> Queue:
        """From a row of ``queues.list``."""
        rule = Rule(**{field.name: row[field.name] for field in fields(Rule)})
        as_they_are = (
            "name",
            "paused_at",
            "ready",
            "scheduled",
            "line",
            "leased",
            "held",
            "waiting",
            "dead",
            "oldest_seconds",
        )
        ended = row["ended_per_second"]
        arrived = None
        if row["grown_in"] is not None and row["grown_in"] >= 1:
            arrived = max(ended + row["grown"] / row["grown_in"], 0.0)
        return cls(
            **{name: row[name] for name in as_they_are},
            workers=row["workers"],
            ended_per_second=ended,
            arrived_per_second=arrived,
            drain_seconds=row["ready"] / ended if ended > 0 else (None if row["ready"] else 0.0),
            rule=rule,
            state=state(rule, row),
        )


def state(rule: Rule, row: Row) -> State:
    """How a queue does, from what stands in it and how that has grown, before any job fails for it."""
    ready, oldest, ended = row["ready"], row["oldest_seconds"] or 0.0, row["ended_per_second"]
    if row["paused_at"] is not None:
        return "paused"
    if ready and not row["workers"]:
        return "stalled"
    if (rule.max_depth is not None and ready + row["line"] >= rule.max_depth) or oldest > (rule.max_age or inf):
        return "full"
    grows = (
        row["grown"] is not None
        and row["grown_in"] >= limits.DEBT_SECONDS
        and row["grown"] > max(ready * limits.DEBT_SHARE, limits.DEBT_JOBS)
        and ready > ended * limits.DEBT_SECONDS
    )
    return "in_debt" if grows or oldest > limits.DEBT_AGE_SECONDS else "open"


class Declaring(Protocol):
    """What declares rules of queues: an app. ``name`` is its own."""

    name: str

    @property
    def queues(self) -> Mapping[str, Rule]: ...  # noqa: D102


def rule(
    name: str,
    *,
    max_depth: int | Literal["unlimited"] | None,
    max_age: timedelta | float | None,
    when_full: WhenFull | None,
    deadline: timedelta | float | None,
    retention: timedelta | None = None,
    tenant_required: bool = False,
) -> Rule:
    """The bound as it was declared. Raises InvalidOption, naming what can't be meant."""
    check.name("name", name, limits.QUEUE_NAME_CHARS_MAX)
    if when_full is not None and when_full not in get_args(WhenFull):
        raise InvalidOption(
            f"{when_full!r} is no reaction", field="when_full", fix=f"give one of {', '.join(get_args(WhenFull))}"
        )
    unlimited = max_depth == "unlimited"
    depth = None if unlimited or max_depth is None else _depth(max_depth)
    age = None if max_age is None else check.seconds("max_age", max_age)
    bound = depth is not None or age is not None
    if unlimited and bound:
        raise InvalidOption("is given, and max_depth is unlimited", field="max_age", fix="give one of the two")
    if when_full is not None and not bound:
        raise InvalidOption("is given without a bound", field="when_full", fix="give max_depth or max_age, too")
    reaction: WhenFull | None = when_full or ("reject" if bound else None)
    if reaction == "block" and deadline is None:
        raise InvalidOption("is missing", field="deadline", fix="say how long an enqueue may wait for room")
    if reaction != "block" and deadline is not None:
        raise InvalidOption("is given, and nothing waits", field="deadline", fix='say when_full="block", too')
    return Rule(
        name=name,
        unlimited=unlimited,
        max_depth=depth,
        max_age=age,
        when_full=reaction,
        deadline=None if deadline is None else check.seconds("deadline", deadline),
        retention_days=None if retention is None else _days(retention),
        tenant_required=check.flag("tenant_required", tenant_required),
    )


def _depth(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limits.QUEUE_DEPTH_MAX:
        raise InvalidOption(
            f"{value!r} is not allowed", field="max_depth", fix=f'give 1 to {limits.QUEUE_DEPTH_MAX:,}, or "unlimited"'
        )
    return value


def _days(value: object) -> int:
    """Whole days: finished jobs are kept by the day on which they finished."""
    if not isinstance(value, timedelta) or not timedelta(days=1) <= value <= timedelta(days=limits.DELAY_DAYS_MAX):
        raise InvalidOption(f"{value!r} is not allowed", field="retention", fix="give a timedelta of a day or more")
    if value % timedelta(days=1):
        raise InvalidOption(f"{value} isn't whole days", field="retention", fix="give a timedelta of whole days")
    return value.days


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What one queue may still take. ``room``: jobs, None when it has no bound; the rest as it is declared or found."""

    id: int
    name: str
    max_depth: int | None
    when_full: WhenFull | None
    deadline: float | None
    depth: int
    age: float | None
    room: int | None
    retry_after: float
    tenant_required: bool = False

    @classmethod
    def read(cls, row: Row) -> Room:
        """From a row of ``queues.admit``; what isn't guarded has room for everything."""
        told = {name: row[name] for name in ("id", "name", "max_depth", "when_full", "deadline", "age", "room")}
        return cls(
            **told,
            depth=row["depth"] or 0,
            retry_after=row["retry_after"] or 1.0,
            tenant_required=bool(row["tenant_required"]),
        )


@dataclass(frozen=True, slots=True)
class Shed:
    """Jobs that must give way before others can be written: so many of a queue, all less urgent than ``priority``."""

    room: Room
    priority: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Admission:
    """How jobs are taken in: those at these places in the list are due then, the others as they say; who gives way."""

    due: Mapping[int, datetime | timedelta]
    sheds: Sequence[Shed]


def admission(specs: Sequence[JobSpec], rooms: Sequence[Room]) -> Admission:
    """How the jobs are taken in. Raises QueueSaturated when one of the queues refuses what it has no room for, and
    ContextMissing when one takes jobs for a tenant only."""
    due: dict[int, datetime | timedelta] = {}
    sheds: list[Shed] = []
    for room in rooms:
        if room.tenant_required:
            _check_tenants(specs, room)
        if room.when_full is None or room.room is None:
            continue
        places = [place for place, spec in enumerate(specs) if spec.queue == room.name]
        if room.when_full in ("spill", "delay"):
            # What is due later anyway waits in line then, if it must.
            places = [place for place in places if specs[place].delay is None and specs[place].run_at is None]
        over = places[room.room :]
        if not over:
            continue
        if room.when_full == "spill":
            due.update(dict.fromkeys(over, LINE + timedelta(seconds=room.id)))
        elif room.when_full == "delay":
            # One after the other, so that they don't all come back in the same moment.
            due.update(
                (place, timedelta(seconds=room.retry_after * (1 + turn / len(over)))) for turn, place in enumerate(over)
            )
        elif room.when_full == "shed_lowest":
            lowest = max(limits.PRIORITY_DEFAULT if (p := specs[place].priority) is None else p for place in places)
            sheds.append(Shed(room, lowest, len(over)))
        else:
            raise saturated(room, len(places))
    return Admission(due, sheds)


def _check_tenants(specs: Sequence[JobSpec], room: Room) -> None:
    for spec in specs:
        if spec.queue == room.name and context.read(spec.context and msgspec.json.decode(spec.context)).tenant is None:
            raise ContextMissing(
                f"a job of {spec.task} names no tenant, and the queue {room.name} takes none without",
                field="context.tenant",
                fix="enqueue it in context.bind(tenant=…), or with context={'tenant': …}",
            )


def saturated(room: Room, wanted: int) -> QueueSaturated:
    """The refusal of a queue that is full, or whose oldest job has waited for too long."""
    jobs = "it" if wanted == 1 else f"{wanted:,} jobs"
    if room.max_depth is not None and wanted > room.max_depth:
        fix = f"enqueue at most {room.max_depth:,} at a time"
    else:
        fix = f"try again in {room.retry_after:.0f} s, or see why the queue drains no faster"
    full = f"holds {room.depth:,} jobs" + (f" of {room.max_depth:,}" if room.max_depth is not None else "")
    if room.age is not None:
        full += f", the oldest ready for {room.age:.1f} s"
    return QueueSaturated(
        f"the queue {room.name} {full}, and has no room for {jobs}",
        queue=room.name,
        depth=room.depth,
        max_depth=room.max_depth,
        retry_after=room.retry_after,
        deadline=room.deadline,
        field="queue",
        fix=fix,
    )
