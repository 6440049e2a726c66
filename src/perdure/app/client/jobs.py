"""The noun ``jobs``: enqueue, look, cancel, retry, wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar, Unpack

from ...core import limits
from ...core.errors import QueueSaturated
from ...jobs.letters import Act, Acted, Entry, Filter
from ...jobs.model import Enqueued, JobSpec, Options
from ...jobs.ops import letters
from ...jobs.ops.control import CancelAnswer
from ...jobs.ops.pause import PauseAnswer, ResumeAnswer
from ...jobs.ops.progress import Progress, Stuck
from ...jobs.view import Attempt, Job
from ...runtime.clock import monotonic
from ...runtime.dice import roll
from . import chains, dead, pauses, verbs
from .runs import AsyncRuns, Runs
from .verbs import Page

T = TypeVar("T")


class Jobs:
    """Jobs, in the transaction of whoever gave this noun."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def enqueue(self, job: JobSpec, **options: Unpack[Options]) -> Enqueued:
        """Write one job; its id. The options say what ``job`` doesn't: queue, key, priority, delay or run_at, expires,
        timeout, retry, tags, at_most_once, context, unique, on_conflict. Raises InvalidOption, DuplicateJob (a unique
        key is taken, and ``on_conflict`` is "raise"), QueueSaturated or a DatabaseError; then nothing was written.
        """
        spec = verbs.spec(job, options)
        if verbs.is_special(spec):
            run = self._runs.change if spec.follow_ups else self._runs.ask
            return self._with_room(lambda: run(verbs.enqueue_special(spec)))
        return Enqueued(self._with_room(lambda: self._runs.enqueue(spec)))

    def enqueue_many(self, jobs: Iterable[JobSpec]) -> list[Enqueued]:
        """Write all of them or none, in order: one statement for each five thousand. Raises as ``enqueue`` does."""
        specs = verbs.specs(jobs)
        return self._with_room(lambda: self._write_many(specs))

    def _write_many(self, specs: Sequence[JobSpec]) -> list[Enqueued]:
        if not verbs.needs_several(specs):
            return self._runs.ask(verbs.enqueue_many(specs))
        alone = verbs.enqueue_alone(specs) if self._runs.waits else None
        if alone is None:
            return self._runs.change(verbs.enqueue_many(specs))
        written = self._runs.ask(alone)
        return self._runs.change(verbs.enqueue_many(specs, free=False)) if written is None else written

    def _with_room(self, write: Callable[[], T]) -> T:
        """Write, and where a queue is full and lets its enqueuers wait, again; outside of any transaction."""
        blocked = verbs.Blocked(self._runs.waits)
        while True:
            try:
                return write()
            except QueueSaturated as full:
                pause = blocked.pause(full, monotonic(), roll())
            time.sleep(pause)

    def get(self, id: int) -> Job:
        """One job, wherever it stands. Raises JobNotFound."""
        return self._runs.look(verbs.get, id)

    def attempts(self, id: int) -> list[Attempt]:
        """How the job's attempts that didn't complete have ended, in order."""
        return self._runs.look(verbs.attempts, id)

    def list(
        self,
        *,
        queue: str | None = None,
        place: str | None = None,
        task: str | None = None,
        tag: str | None = None,
        cursor: int | None = None,
        limit: int = verbs.PAGE_ROWS_DEFAULT,
    ) -> Page[Job]:
        """A page of jobs, newest first. ``cursor`` is ``next`` of the page before. Raises InvalidOption."""
        return self._runs.look(verbs.list_jobs, queue, place, task, tag, cursor, limit)

    def cancel(self, id: int, *, reason: str | None = None) -> CancelAnswer:
        """End a job that waits ("cancelled"), or ask the worker that runs it to stop ("requested"). "finished" and
        "dead": too late, nothing was done. Raises JobNotFound.
        """
        return self._runs.change(verbs.cancel(id, reason))

    def cancel_many(self, ids: Iterable[int], *, reason: str | None = None) -> dict[int, CancelAnswer]:
        """Cancel many jobs, all of them or none, in one transaction that locks them in one order: the answers by id,
        "missing" among them. Raises InvalidOption.
        """
        return self._runs.change(verbs.cancel_many(ids, reason))

    def retry(self, id: int) -> None:
        """Run a job now: a scheduled one without waiting, a dead one again from its first attempt, one that is parked
        as ``context_missing`` when its queue needs no tenant any more (otherwise it is parked again).

        Raises JobNotFound, or JobNotRetryable when it stands anywhere else, or is a dead run of a workflow.
        """
        self._runs.change(verbs.retry(id))

    def pause(self, id: int) -> PauseAnswer:
        """Let a job run no further until ``resume``. One that waits for its turn is set aside ("paused"); one that runs
        is asked to stop, as by a drain ("requested"), and keeps what it has saved. No attempt is charged.

        Raises JobNotFound, or JobError when it has ended, is dead or is a workflow's run.
        """
        return self._runs.change(pauses.pause(id))

    def resume(self, id: int) -> ResumeAnswer:
        """Let a paused job go on from its last checkpoint. "running": it hasn't stopped yet, and goes on all the same.
        Raises JobNotFound, or JobError when it isn't paused."""
        return self._runs.change(pauses.resume(id))

    def redrive(self, id: int, *, by: str | None = None) -> None:
        """Run a dead job again, from its first attempt. ``by``: who does it; the job's context says so from then on,
        and stays what it is otherwise. Raises JobNotFound, or JobNotRetryable when it isn't dead, or is a workflow's
        run: ``workflows.retry`` is for that."""
        self._runs.change(verbs.redrive(id, by))

    def redrive_dead(
        self, *, by: str, rate: float | None = None, everything: bool = False, **filter: Unpack[Filter]
    ) -> Acted:
        """Run the dead jobs that the filter chooses again, in order, a thousand a transaction; it is noted who did it.

        ``rate``: so many a second; the rest is scheduled. ``everything``: every dead job is meant, should the filter be
        empty or choose them all. Those that die meanwhile are not taken, nor runs of workflows: ``runs`` of what is
        returned says how many these were. Raises InvalidOption, or NothingMatches.
        """
        return self._act("redrive", dict(filter), by=by, rate=rate, everything=everything)

    def discard_dead(self, *, by: str, reason: str, everything: bool = False, **filter: Unpack[Filter]) -> Acted:
        """File the dead jobs that the filter chooses in history for good. As ``redrive_dead``."""
        return self._act("discard", dict(filter), by=by, reason=reason, everything=everything)

    def count_dead(self, **filter: Unpack[Filter]) -> int:
        """How many dead jobs the filter chooses: a dry run. Raises InvalidOption."""
        return self._runs.look(dead.count, dict(filter))

    def acts(self, *, limit: int = 50) -> Sequence[Entry]:
        """Who redrove or discarded many jobs at once, when, by which filter, and how many; the latest first."""
        return self._runs.look(dead.acts, limit)

    def _act(self, act: Act, filter: dict[str, Any], **said: Any) -> Acted:
        doing = self._runs.look(dead.begin, act, filter, **said)
        while self._runs.change(letters.batch(doing)):
            pass
        return dead.done(doing)

    def progress(self, id: int) -> Progress:
        """How far the job says it is, at which rate, and how long the rest takes. Raises JobNotFound."""
        return self._runs.look(verbs.progress, id)

    def stuck(self, *, seconds: float = limits.STUCK_SECONDS) -> Sequence[Stuck]:
        """Running jobs that say how far they are, and haven't advanced for so long; the longest first."""
        return self._runs.look(verbs.stuck, seconds)

    def discard(self, id: int, *, reason: str | None = None) -> None:
        """File a dead job in history for good. Raises JobNotFound, or JobError when it isn't dead."""
        self._runs.change(verbs.discard(id, reason))

    def wait(self, id: int, *, timeout: float | None = None) -> Any:
        """The job's result, once it has completed; asks ever more rarely. ``timeout`` in seconds, None for ever.

        Raises JobFailed (JobCancelled, JobExpired) when it ended otherwise or is dead, WaitTimeout, JobNotFound.
        """
        self._runs.refuse_wait()
        waiting = verbs.Waiting(id, timeout, monotonic())
        while (pause := waiting.pause(job := self.get(id), monotonic(), roll())) is not None:
            time.sleep(pause)
        return job.result

    def wait_chain(self, id: int, *, timeout: float | None = None) -> Any:
        """The result of the last job of a chain: of this one, and of all that completed jobs are followed by.

        Waits for each of them; a follow-up that finds its queue full is waited for, too. Raises as ``wait`` does, and
        JobFailed when a follow-up can't be enqueued.
        """
        chain = chains.Chain(id, timeout, monotonic())
        while (now := chain.next) is not None:
            result = self.wait(now, timeout=chain.left(monotonic()))
            while (pause := chain.followed(self._runs.look(chains.after, now), monotonic())) is not None:
                time.sleep(pause)
        return result


class AsyncJobs:
    """Jobs, in the transaction of whoever gave this noun; every verb is awaited."""

    def __init__(self, runs: AsyncRuns) -> None:
        self._runs = runs

    async def enqueue(self, job: JobSpec, **options: Unpack[Options]) -> Enqueued:
        """As ``Jobs.enqueue``."""
        spec = verbs.spec(job, options)
        if verbs.is_special(spec):
            run = self._runs.change if spec.follow_ups else self._runs.ask
            return await self._with_room(lambda: run(verbs.enqueue_special(spec)))
        return Enqueued(await self._with_room(lambda: self._runs.enqueue(spec)))

    async def enqueue_many(self, jobs: Iterable[JobSpec]) -> list[Enqueued]:
        """As ``Jobs.enqueue_many``."""
        specs = verbs.specs(jobs)
        return await self._with_room(lambda: self._write_many(specs))

    async def _write_many(self, specs: Sequence[JobSpec]) -> list[Enqueued]:
        if not verbs.needs_several(specs):
            return await self._runs.ask(verbs.enqueue_many(specs))
        alone = verbs.enqueue_alone(specs) if self._runs.waits else None
        if alone is None:
            return await self._runs.change(verbs.enqueue_many(specs))
        written = await self._runs.ask(alone)
        return (await self._runs.change(verbs.enqueue_many(specs, free=False))) if written is None else written

    async def _with_room(self, write: Callable[[], Awaitable[T]]) -> T:
        blocked = verbs.Blocked(self._runs.waits)
        while True:
            try:
                return await write()
            except QueueSaturated as full:
                pause = blocked.pause(full, monotonic(), roll())
            await asyncio.sleep(pause)

    async def get(self, id: int) -> Job:
        """As ``Jobs.get``."""
        return await self._runs.look(verbs.get, id)

    async def attempts(self, id: int) -> list[Attempt]:
        """As ``Jobs.attempts``."""
        return await self._runs.look(verbs.attempts, id)

    async def list(
        self,
        *,
        queue: str | None = None,
        place: str | None = None,
        task: str | None = None,
        tag: str | None = None,
        cursor: int | None = None,
        limit: int = verbs.PAGE_ROWS_DEFAULT,
    ) -> Page[Job]:
        """As ``Jobs.list``."""
        return await self._runs.look(verbs.list_jobs, queue, place, task, tag, cursor, limit)

    async def cancel(self, id: int, *, reason: str | None = None) -> CancelAnswer:
        """As ``Jobs.cancel``."""
        return await self._runs.change(verbs.cancel(id, reason))

    async def cancel_many(self, ids: Iterable[int], *, reason: str | None = None) -> dict[int, CancelAnswer]:
        """As ``Jobs.cancel_many``."""
        return await self._runs.change(verbs.cancel_many(ids, reason))

    async def retry(self, id: int) -> None:
        """As ``Jobs.retry``."""
        await self._runs.change(verbs.retry(id))

    async def pause(self, id: int) -> PauseAnswer:
        """As ``Jobs.pause``."""
        return await self._runs.change(pauses.pause(id))

    async def resume(self, id: int) -> ResumeAnswer:
        """As ``Jobs.resume``."""
        return await self._runs.change(pauses.resume(id))

    async def redrive(self, id: int, *, by: str | None = None) -> None:
        """As ``Jobs.redrive``."""
        await self._runs.change(verbs.redrive(id, by))

    async def redrive_dead(
        self, *, by: str, rate: float | None = None, everything: bool = False, **filter: Unpack[Filter]
    ) -> Acted:
        """As ``Jobs.redrive_dead``."""
        return await self._act("redrive", dict(filter), by=by, rate=rate, everything=everything)

    async def discard_dead(self, *, by: str, reason: str, everything: bool = False, **filter: Unpack[Filter]) -> Acted:
        """As ``Jobs.discard_dead``."""
        return await self._act("discard", dict(filter), by=by, reason=reason, everything=everything)

    async def count_dead(self, **filter: Unpack[Filter]) -> int:
        """As ``Jobs.count_dead``."""
        return await self._runs.look(dead.count, dict(filter))

    async def acts(self, *, limit: int = 50) -> Sequence[Entry]:
        """As ``Jobs.acts``."""
        return await self._runs.look(dead.acts, limit)

    async def _act(self, act: Act, filter: dict[str, Any], **said: Any) -> Acted:
        doing = await self._runs.look(dead.begin, act, filter, **said)
        while await self._runs.change(letters.batch(doing)):
            pass
        return dead.done(doing)

    async def progress(self, id: int) -> Progress:
        """As ``Jobs.progress``."""
        return await self._runs.look(verbs.progress, id)

    async def stuck(self, *, seconds: float = limits.STUCK_SECONDS) -> Sequence[Stuck]:
        """As ``Jobs.stuck``."""
        return await self._runs.look(verbs.stuck, seconds)

    async def discard(self, id: int, *, reason: str | None = None) -> None:
        """As ``Jobs.discard``."""
        await self._runs.change(verbs.discard(id, reason))

    async def wait(self, id: int, *, timeout: float | None = None) -> Any:
        """As ``Jobs.wait``."""
        self._runs.refuse_wait()
        waiting = verbs.Waiting(id, timeout, monotonic())
        while (pause := waiting.pause(job := await self.get(id), monotonic(), roll())) is not None:  # noqa: ASYNC110
            await asyncio.sleep(pause)
        return job.result

    async def wait_chain(self, id: int, *, timeout: float | None = None) -> Any:
        """As ``Jobs.wait_chain``."""
        chain = chains.Chain(id, timeout, monotonic())
        while (now := chain.next) is not None:
            result = await self.wait(now, timeout=chain.left(monotonic()))
            while (  # noqa: ASYNC110
                pause := chain.followed(await self._runs.look(chains.after, now), monotonic())
            ) is not None:
                await asyncio.sleep(pause)
        return result
