"""The loop and a slot's thread meet at a job: each switch between them is forced where the interpreter may make it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec
import pytest

from perdure.core.backoff import Retry
from perdure.jobs import rules
from perdure.jobs.handler import Handler
from perdure.jobs.loops.runner import Runner
from perdure.jobs.loops.slot import Slot
from perdure.jobs.work import Claimed, End, Lease

RunIn: TypeAlias = Literal["loop", "thread"]
SWITCH_SECONDS = 0.05
"""How long a thread is held where it may lose the interpreter; the other has everything to do in it."""
BOUND_SECONDS = 30.0


def _started(
    function: Callable[[], object], timeout: float | None = None, run_in: RunIn = "thread", **options: Any
) -> tuple[Runner, list[End]]:
    """A runner of one slot, and the ends of its jobs."""
    ends: list[End] = []
    handler = Handler("t", function, run_in, Retry(), timeout, False, lambda raw: {}, lambda value: "1", None, "here:t")
    options = {"trusted_until": lambda: float("inf"), "on_room": lambda: None, **options}
    runner = Runner({"t": handler}, 1, settle=ends.append, **options)
    runner.start(lambda task: None)
    return runner, ends


def _jobs(count: int) -> list[Claimed]:
    lease = Lease(1, count)
    return [Claimed(id, 0, lease, 1, "t", msgspec.Raw(b"{}"), datetime.now(UTC)) for id in range(1, count + 1)]


async def _until(true: Callable[[], bool], sweep: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
        sweep()


async def _ended(runner: Runner, ends: list[End], count: int) -> dict[int, str]:
    await _until(lambda: len(ends) >= count, runner.sweep_deadlines)
    await runner.close()
    assert len(ends) == count
    return {end.job.id: end.verdict for end in ends}


@pytest.mark.parametrize("run_in", ["loop", "thread"])
async def test_what_is_held_is_not_started_once_the_trust_has_lapsed(run_in: RunIn) -> None:
    """While a job runs its worker's trust runs out: the next one, which is in its hands already, isn't started before
    there has been a good beat, neither by the slot nor by the thread that has just been at the first [DW-105]. Red when
    only the claimer asks for trust, or when a thread goes on without asking."""
    trusted, pauses, go = [float("inf")], list[int](), asyncio.Event()

    async def on_loop() -> None:
        in_thread()

    def in_thread() -> None:
        trusted[0] = 0.0

    async def pause() -> None:
        pauses.append(len(ends))
        await go.wait()

    work = on_loop if run_in == "loop" else in_thread
    runner, ends = _started(work, run_in=run_in, trusted_until=lambda: trusted[0], pause=pause)
    runner.offer(_jobs(2))
    await _until(lambda: bool(pauses) or len(ends) == 2)
    trusted[0] = float("inf")
    go.set()

    assert await _ended(runner, ends, 2) == {1: "completed", 2: "completed"}
    assert pauses == [1]


async def test_a_deadline_ends_with_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that begins its next job is held before it knows that job's timeout, past the last one's deadline: the
    next job isn't timed out. Red when the slot's job and deadline aren't set together."""
    real, asked, go = rules.timeout_for, [], threading.Event()

    def slow(job: Claimed, declared: float | None) -> float | None:
        asked.append(job.id)
        if len(asked) == 2:
            go.wait(BOUND_SECONDS)
        return real(job, declared)

    monkeypatch.setattr(rules, "timeout_for", slow)
    runner, ends = _started(lambda: None, timeout=0.25)
    jobs = _jobs(2)
    await asyncio.sleep(0)
    runner.offer(jobs)
    await _until(lambda: len(asked) == 2)
    jobs[1].started += BOUND_SECONDS  # its own time is not what this is about
    await _until(lambda: time.monotonic() > jobs[0].started + 0.25)
    runner.sweep_deadlines()
    go.set()

    assert await _ended(runner, ends, 2) == {1: "completed", 2: "completed"}


async def test_a_cancel_meets_the_job_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the loop stops a job, that job's thread has ended it and would begin the next: the next one isn't stopped
    in its place. Red when the slot isn't locked between the look and the stop."""
    runs: list[int] = []
    first, go = threading.Event(), threading.Event()

    def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            first.set()
            go.wait(BOUND_SECONDS)
        else:
            time.sleep(2 * SWITCH_SECONDS)

    runner, ends = _started(work)
    real = runner._stop

    def held(slot: Slot, reason: str) -> None:
        go.set()
        time.sleep(SWITCH_SECONDS)
        real(slot, reason)

    monkeypatch.setattr(runner, "_stop", held)
    await asyncio.sleep(0)
    runner.offer(_jobs(2))
    await asyncio.to_thread(first.wait, BOUND_SECONDS)
    runner.stop_jobs("cancelled", frozenset({1}))

    assert await _ended(runner, ends, 2) == {1: "cancelled", 2: "completed"}


async def test_a_slot_that_begins_in_a_thread_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot whose last job was stopped isn't counted as lost while a thread begins the next one. Red when the reason
    is kept until then."""
    runner, _ = _started(lambda: None)
    (slot,), found = runner.slots, list[bool]()
    slot.stop = "timeout"
    monkeypatch.setattr(runner, "_pull", lambda slot, job: found.append(slot.lost))
    await runner._run_threads(slot, _jobs(1)[0])
    await runner.close()

    assert found == [False]


class Slow(deque[Any]):
    """A backlog whose emptying at one blow takes as long as a thread needs for everything in it, once it may."""

    def __init__(self, go: threading.Event) -> None:
        super().__init__()
        self._go = go

    def clear(self) -> None:
        self._go.set()
        time.sleep(SWITCH_SECONDS)
        super().clear()


async def test_what_is_taken_back_is_not_run() -> None:
    """Jobs taken out of the backlog while a thread pulls from it are either given back or run, never both. Red when
    they are copied first and dropped then."""
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(BOUND_SECONDS)

    runner, ends = _started(work)
    runner.backlog = Slow(go)
    await asyncio.sleep(0)
    runner.offer(_jobs(5))
    await asyncio.to_thread(begun.wait, BOUND_SECONDS)
    back = [job.id for job in runner.take_back()]
    go.set()
    ran = await _ended(runner, ends, 5 - len(back))

    assert back
    assert sorted([*back, *ran]) == [1, 2, 3, 4, 5]
