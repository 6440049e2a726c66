"""Attach follow-ups to the jobs that they follow, and forget them again."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from ...core.op import Op, rows
from ...sql import statement
from ..model import Enqueued, JobSpec
from ..stored import stored

_follow_ups, _replaced = attrgetter("follow_ups"), attrgetter("replaced")

ADD = statement("jobs.add_follow_ups", lambda row: int(row["job"]))
DROP = statement("jobs.drop_follow_ups", lambda row: int(row["job"]))


def attach(written: Sequence[Enqueued], specs: Sequence[JobSpec]) -> Op[None]:
    """Keep the follow-ups of these jobs, in the transaction that has written them. A duplicate keeps what it has, one
    that was replaced has these instead."""
    if not any(map(_follow_ups, specs)) and not any(map(_replaced, written)):
        return
    kept = [
        (job.id, number, each.cause, stored(each.job))
        for job, spec in zip(written, specs, strict=True)
        if not job.duplicate or job.replaced
        for number, each in enumerate(spec.follow_ups)
    ]
    replaced = [job.id for job in written if job.replaced]
    yield from drop([(id, None, cause) for id in replaced for cause in ("success", "death")])
    if kept:
        jobs, numbers, causes, texts = map(list, zip(*kept, strict=True))
        yield from rows(ADD, jobs=jobs, numbers=numbers, causes=causes, specs=texts)


def drop(chosen: Sequence[tuple[int, int | None, str | None]]) -> Op[int]:
    """Forget these: of each job the one of that number, or all that wait for that cause; how many there were."""
    if not chosen:
        return 0
    jobs, numbers, causes = map(list, zip(*chosen, strict=True))
    return len((yield from rows(DROP, jobs=jobs, numbers=numbers, causes=causes)))
