"""How a job goes on after what its handler raised or returned, as the database shows it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from perdure.core.endings import Cancel, Permanent, RetryAfter, Snooze
from perdure.fleet.ops import upkeep
from perdure.pg.drive import drive
from tests.rooms.worker import children
from tests.rooms.worker.stage import Stage, until, working

AT_ONCE = Retry(max_attempts=3, delays=(0.0, 0.0), jitter="none")
LATER = Retry(max_attempts=3, base=600.0, cap=600.0)


async def test_a_failed_attempt_is_repeated_until_it_succeeds(stage: Stage) -> None:
    """A handler that fails twice and then returns completes in its third attempt, and each failure is in the attempt
    log with its error [DW-22, DW-166, KIT-26]. Red when a retry doesn't charge its attempt."""
    app, seen = App("a"), []

    @app.task(retry=AT_ONCE)
    async def third_time_lucky(ctx: Context) -> str:
        seen.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ConnectionError(f"the mail server said no, {ctx.attempt}")
        return "sent"

    (id,) = await stage.enqueue(third_time_lucky.job())
    async with working(stage.db, app):
        (job,) = await stage.until_in("history", id)
    attempts = await stage.attempts(id)

    assert seen == [1, 2, 3]
    assert (job.outcome, job.result, job.attempt) == ("completed", "sent", 3)
    assert [(each.ending, each.attempt) for each in attempts] == [("retry", 1), ("retry", 2)]
    assert ["said no, 1" in str(attempts[0].error), "said no, 2" in str(attempts[1].error)] == [True, True]


async def test_what_failed_together_is_not_due_together(stage: Stage) -> None:
    """Of 1,000 jobs that failed in the same moment no second holds more than a twentieth: the stored due times are
    jittered over the whole delay, and no slot waits for them [KIT-21, KIT-24, DW-23]. Red without the dice."""
    app, promotion = App("a"), stage.db.connect()
    promotion.execute("begin")  # some are due at once: none is tried again, and may be dead, while the test looks
    assert drive(promotion, upkeep.take("promote")).mine

    @app.task(retry=LATER)
    async def fail() -> None:
        raise TimeoutError("no answer")

    ids = await stage.enqueue(*[fail.job() for _ in range(1_000)])
    async with working(stage.db, app) as worker:
        await stage.until_all_in("scheduled", ids)
        busy = worker.gauges()["queues"]["default"]["busy"]
    spread = await stage.rows("select count(*) from perdure.scheduled group by date_trunc('second', run_at)")
    latest = await stage.value("select max(run_at) < now() + interval '601 s' from perdure.scheduled")

    assert busy == 0
    assert max(count for (count,) in spread) <= 50
    assert latest


async def test_a_job_that_has_used_up_its_attempts_is_dead_with_its_last_error(stage: Stage) -> None:
    """After its last attempt a job is dead, its payload and last error kept, and not run again [DW-24]. Red when
    ``decide`` doesn't count."""
    app, runs = App("a"), []

    @app.task(retry=AT_ONCE)
    async def fail(order_id: int) -> None:
        runs.append(order_id)
        raise ValueError(f"no order {order_id}, run {len(runs)}")

    (id,) = await stage.enqueue(fail.job(order_id=9182))
    async with working(stage.db, app):
        (job,) = await stage.until_in("dead", id)

    assert (job.reason, job.attempt, job.payload) == ("exhausted", 3, {"order_id": 9182})
    assert "ValueError: no order 9182, run 3" in str(job.error)
    assert len(runs) == 3
    assert await stage.endings(id) == ["retry", "retry", "dead"]


@pytest.mark.parametrize("raised", [True, False], ids=["raised", "returned"])
async def test_each_ending_means_the_same_raised_or_returned(stage: Stage, raised: bool) -> None:
    """``Permanent`` is dead at once, ``RetryAfter`` is due no sooner than asked and charges an attempt, ``Snooze`` is
    due when asked and charges none, ``Cancel`` is cancelled with its reason [DW-25]."""
    app = App("a")
    endings = {
        "permanent": Permanent("the address doesn't exist"),
        "retry_after": RetryAfter(600, "busy"),
        "snooze": Snooze(for_=1_200, reason="closed"),
        "cancel": Cancel("the parcel was returned"),
    }

    @app.task(retry=AT_ONCE)
    async def end(how: str) -> Any:
        if raised:
            raise endings[how]
        return endings[how]

    ids = dict(zip(endings, await stage.enqueue(*[end.job(how=how) for how in endings]), strict=True))
    async with working(stage.db, app):
        (permanent,) = await stage.until_in("dead", ids["permanent"])
        retried, snoozed = await stage.until_in("scheduled", ids["retry_after"], ids["snooze"])
        (cancelled,) = await stage.until_in("history", ids["cancel"])
    now = await stage.value("select clock_timestamp()")

    assert (permanent.reason, permanent.attempt) == ("permanent", 1)
    assert "the address doesn't exist" in str(permanent.error)
    assert retried.run_at is not None
    assert retried.attempt == 1
    assert 500 < (retried.run_at - now).total_seconds() <= 661
    assert snoozed.run_at is not None
    assert snoozed.attempt == 0
    assert 1_100 < (snoozed.run_at - now).total_seconds() <= 1_200
    assert (cancelled.outcome, cancelled.error) == ("cancelled", "the parcel was returned")
    assert await stage.endings(ids["snooze"]) == ["snooze"]


async def test_a_retry_after_that_asks_too_much_is_capped_and_says_so(stage: Stage) -> None:
    """``Retry-After: 86400`` under a cap of an hour waits an hour and a little, and the attempt log has the fact
    [KIT-22]. Red without the cap in ``decide``."""
    app = App("a")

    @app.task(retry=Retry(retry_after_cap=3_600.0))
    async def call() -> None:
        raise RetryAfter("86400")

    (id,) = await stage.enqueue(call.job())
    async with working(stage.db, app):
        (job,) = await stage.until_in("scheduled", id)
    (attempt,) = await stage.attempts(id)
    assert job.run_at is not None
    wait = (job.run_at - attempt.ended_at).total_seconds()

    assert 3_595 < wait < 3_600 * 1.1 + 5
    assert "86400" in str(attempt.error)


async def test_a_retry_that_would_come_after_the_expiry_is_not_made(stage: Stage) -> None:
    """A job whose next attempt would be due after it expires is dead at once, with both facts [KIT-23]. Red when the
    remaining time isn't passed to ``decide``."""
    app = App("a")

    @app.task(retry=Retry(base=300.0, cap=300.0, jitter="none"))
    async def fail() -> None:
        raise ValueError("no")

    (id,) = await stage.enqueue(fail.job().options(expires=timedelta(seconds=30)))
    async with working(stage.db, app):
        (job,) = await stage.until_in("dead", id)

    assert job.reason == "deadline"
    assert "300" in str(job.error)
    assert await stage.value("select count(*) from perdure.scheduled") == 0


async def test_work_that_must_not_run_twice_goes_to_review_when_it_fails(stage: Stage) -> None:
    """A task declared ``at_most_once`` that fails is dead with ``needs_review`` after one run, whatever its policy
    [KIT-25]. Red when ``failed`` doesn't ask for it."""
    app, runs = App("a"), []

    @app.task(retry=AT_ONCE, at_most_once=True)
    async def charge() -> None:
        runs.append(1)
        raise ConnectionError("the answer was lost")

    (id,) = await stage.enqueue(charge.job())
    async with working(stage.db, app):
        (job,) = await stage.until_in("dead", id)

    assert (job.reason, runs) == ("needs_review", [1])


async def test_a_job_may_say_of_itself_whether_it_may_run_twice(stage: Stage) -> None:
    """What an enqueuer says of ``at_most_once`` holds, whatever the task declares: such a job isn't tried again when it
    fails, any other is [KIT-25]. Red when the runner asks the task only, and when a no isn't kept with the job."""
    app, runs = App("a"), list[int]()

    async def charge(order_id: int) -> None:
        runs.append(order_id)
        raise ConnectionError("the answer was lost")

    often, once = app.task(name="often", retry=AT_ONCE)(charge), app.task(retry=AT_ONCE, at_most_once=True)(charge)
    jobs = [often.job(1).options(at_most_once=True), often.job(2), once.job(3).options(at_most_once=False)]
    ids = await stage.enqueue(*jobs)
    async with working(stage.db, app):
        ends = await stage.until_in("dead", *ids)

    assert [job.reason for job in ends] == ["needs_review", "exhausted", "exhausted"]
    assert sorted(runs) == [1, 2, 2, 2, 3, 3, 3]


async def test_one_call_is_one_attempt_whatever_the_job_asks_for(stage: Stage) -> None:
    """The policy given with a job replaces its task's, and nothing below repeats a call of its own: the handler is
    called as often as the policy says [KIT-24, KIT-26]."""
    app, calls = App("a"), []

    @app.task(retry=Retry(max_attempts=20))
    async def fail() -> None:
        calls.append(1)
        raise OSError("no")

    (id,) = await stage.enqueue(fail.job().options(retry=Retry(max_attempts=4, delays=(0.0,) * 3, jitter="none")))
    async with working(stage.db, app):
        (job,) = await stage.until_in("dead", id)

    assert (len(calls), job.attempt) == (4, 4)


async def test_an_error_the_policy_rules_out_is_not_repeated(stage: Stage) -> None:
    """An error of a class in ``never_on`` is dead after one attempt, any other is tried again [KIT-22]."""
    app = App("a")

    @app.task(retry=Retry(base=600.0, cap=600.0, never_on=ValueError))
    async def fail(wrong: bool) -> None:
        raise ValueError("wrong") if wrong else OSError("busy")

    wrong, busy = await stage.enqueue(fail.job(wrong=True), fail.job(wrong=False))
    async with working(stage.db, app):
        (dead,) = await stage.until_in("dead", wrong)
        await stage.until_in("scheduled", busy)

    assert (dead.reason, dead.attempt) == ("not_retryable", 1)


async def test_a_retry_becomes_due_without_anybody_touching_it(stage: Stage) -> None:
    """A failed job's next attempt is started by the worker when its stored time has come, also by another worker than
    the one that failed [DW-23]. Red without promotion, or without the due-time wake-up."""
    app, runs = App("a"), []

    @app.task(retry=Retry(max_attempts=2, delays=(1.0,), jitter="none"))
    async def fail_once() -> None:
        runs.append(datetime.now(UTC))
        if len(runs) == 1:
            raise ValueError("once")

    (id,) = await stage.enqueue(fail_once.job())
    async with working(stage.db, app):
        await until(lambda: runs)
    job = await stage.job(id)
    async with working(stage.db, app):
        await stage.until_in("history", id)

    assert job.place == "scheduled"
    assert (runs[1] - runs[0]).total_seconds() >= 1.0


class Busy(RetryAfter):
    """An ending whose author forgot ``super().__init__``: it has no delay."""

    def __init__(self, who: str) -> None:
        self.who = who


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_an_ending_that_is_broken_is_a_failed_attempt(stage: Stage, kind: str) -> None:
    """An ending of the application's own that can't be read is an error like any other: retried, then dead, told with
    its cause, while the worker goes on [KIT-36]. Red when ``_failed`` lets the second error out: the worker ends."""
    app = App("a")

    @app.task(retry=AT_ONCE)
    async def loop() -> None:
        raise Busy("the printer")

    @app.task(retry=AT_ONCE)
    def thread() -> None:
        raise Busy("the printer")

    @app.task
    async def fine() -> None: ...

    broken, mate = await stage.enqueue(app.find(kind).job(), fine.job())
    async with working(stage.db, app):
        (dead,) = await stage.until_in("dead", broken)
        await stage.until_in("history", mate)

    first = str((await stage.attempts(broken))[0].error)

    assert (dead.reason, dead.attempt) == ("exhausted", 3)
    assert "AttributeError: 'Busy' object has no attribute 'delay'" in first
    assert "Busy: the printer" in first


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_a_cancellation_from_inside_is_an_error_to_be_retried(stage: Stage, kind: str) -> None:
    """When something that the handler waits for is cancelled, and not the handler, the attempt has failed and is tried
    again like any other [KIT-26]. Red when the policy is asked about the CancelledError itself: it retries none."""
    app, runs = App("a"), []

    def fail_once() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise asyncio.CancelledError("the pool was closed")

    @app.task(retry=AT_ONCE)
    async def loop() -> None:
        fail_once()

    @app.task(retry=AT_ONCE)
    def thread() -> None:
        fail_once()

    (id,) = await stage.enqueue(app.find(kind).job())
    async with working(stage.db, app):
        (job,) = await stage.until_in("history", id)
    (attempt,) = await stage.attempts(id)

    assert (job.outcome, job.attempt) == ("completed", 2)
    assert "CancelledError: the pool was closed" in str(attempt.error)
    assert "RuntimeError: something that the handler waited for was cancelled" in str(attempt.error)


async def test_a_reason_that_can_not_be_stored_is_shown(stage: Stage) -> None:
    """NUL and half a surrogate pair in a reason cost no job its ending: each goes where it was sent. Red when a reason
    is stored as it is: then the job is dead as ``unsettleable``."""
    app, odd = App("a"), "a\0b\udc80"

    class Weary(Snooze):
        def __init__(self) -> None:
            super().__init__(for_=600)
            self.reason = odd

    endings = {"retry": RetryAfter(600, odd), "snooze": Weary(), "cancel": Cancel(odd), "permanent": Permanent(odd)}

    @app.task(retry=LATER)
    async def end(how: str) -> Any:
        return endings[how]

    ids = dict(zip(endings, await stage.enqueue(*[end.job(how=how) for how in endings]), strict=True))
    async with working(stage.db, app):
        await stage.until_in("scheduled", ids["retry"], ids["snooze"])
        (cancelled,) = await stage.until_in("history", ids["cancel"])
        (permanent,) = await stage.until_in("dead", ids["permanent"])
    told = [str((await stage.attempts(ids[name]))[0].error) for name in ("retry", "snooze", "permanent")]

    assert (cancelled.outcome, permanent.reason) == ("cancelled", "permanent")
    assert all("a\\0b\\udc80" in text for text in [*told, str(cancelled.error)])


async def test_a_result_that_can_not_be_kept_is_not_worked_for_twice(stage: Stage) -> None:
    """A handler that returns something without a JSON form has done its work: the job is dead with ``bad_result`` and
    isn't run again."""
    app, runs = App("a"), []

    @app.task(retry=AT_ONCE)
    async def odd() -> object:
        runs.append(1)
        return object()

    (id,) = await stage.enqueue(odd.job())
    async with working(stage.db, app):
        (job,) = await stage.until_in("dead", id)

    assert (job.reason, runs) == ("bad_result", [1])


async def test_arguments_that_no_longer_fit_fail_the_attempt_alone(stage: Stage) -> None:
    """A payload that today's signature refuses is a failed attempt of that job, with an error that names the argument;
    its batch mates complete."""
    app = App("a")

    @app.task(retry=Retry(max_attempts=1))
    async def work(number: int) -> int:
        return number

    wrong, right = await stage.enqueue(work.spec('{"number": "many"}'), work.spec('{"number": 3}'))
    async with working(stage.db, app):
        (dead,) = await stage.until_in("dead", wrong)
        (job,) = await stage.until_in("history", right)

    assert "number" in str(dead.error)
    assert job.result == 3


async def test_a_child_that_crashes_charges_its_own_job_only(stage: Stage) -> None:
    """A process handler that ends its child like a segmentation fault fails its own attempt; jobs beside it, in
    children and on the loop, complete, and the worker goes on [KIT-36]. Red when a broken child breaks the loop."""
    vanishing, *others = await stage.enqueue(children.vanish.job(), *[children.whose_process.job() for _ in range(3)])
    async with working(stage.db, children.app):
        (dead,) = await stage.until_in("dead", vanishing)
        jobs = await stage.until_in("history", *others)

    assert dead.reason == "exhausted"
    assert "the child process ended with exit code 42 under the handler" in str(dead.error)
    assert [job.outcome for job in jobs] == ["completed"] * 3
