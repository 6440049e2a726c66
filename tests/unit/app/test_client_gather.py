"""Gathering: what arrives while a statement is under way goes out with the next one, and each caller hears his own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from perdure import JobSpec
from perdure.app.client.gather import BATCH_MAX, AsyncGathering, Gathering
from perdure.core.errors import LoginRefused, OutcomeUnknown, PerdureError, StatementRefused
from perdure.jobs.ops.enqueue import CHARS_MAX

PATIENCE_SECONDS = 30.0


def _spec(number: int, *, bad: bool = False) -> JobSpec:
    return JobSpec(task="bad" if bad else "good", payload=f'{{"n":{number}}}')


class Wire:
    """Stands for the connection: the first statement waits until the test lets it go on. Ids are the jobs' numbers."""

    def __init__(self, *, lost: bool = False) -> None:
        self.statements: list[int] = []
        self.under_way, self.go_on = threading.Event(), threading.Event()
        self.lost = lost
        self.error: PerdureError = OutcomeUnknown("is gone")

    def write(self, specs: Sequence[JobSpec]) -> list[int]:
        self.statements.append(len(specs))
        self.under_way.set()
        assert self.go_on.wait(PATIENCE_SECONDS)
        return self.judge(specs)

    def judge(self, specs: Sequence[JobSpec]) -> list[int]:
        if self.lost:
            raise self.error
        if any(spec.task == "bad" for spec in specs):
            raise StatementRefused("refused")
        return [int(spec.payload[5:-1]) + 1 for spec in specs]

    async def awrite(self, specs: Sequence[JobSpec]) -> list[int]:
        self.statements.append(len(specs))
        await asyncio.sleep(0)
        return self.judge(specs)


def _gather(wire: Wire, specs: Sequence[JobSpec]) -> list[int | BaseException]:
    """Enqueue each from a thread of its own: the first alone, the others while its statement is under way."""
    gathering = Gathering(wire.write)

    def call(spec: JobSpec) -> int | BaseException:
        try:
            return gathering.enqueue(spec)
        except StatementRefused as error:
            return error
        except OutcomeUnknown as error:
            return error

    with ThreadPoolExecutor(len(specs)) as threads:
        first = threads.submit(call, specs[0])
        assert wire.under_way.wait(PATIENCE_SECONDS)
        others = [threads.submit(call, spec) for spec in specs[1:]]
        while len(gathering._waiting) < len(others):
            threading.Event().wait(0.001)
        wire.go_on.set()
        return [each.result(PATIENCE_SECONDS) for each in (first, *others)]


def test_threads_share_a_statement() -> None:
    """What arrives from forty threads during one statement is the next statement, and each gets its own id."""
    wire = Wire()

    found = _gather(wire, [_spec(number) for number in range(41)])

    assert found == list(range(1, 42))
    assert wire.statements == [1, 40]


def test_a_bad_job_fails_its_caller_only() -> None:
    """Of forty gathered jobs one is refused: its caller is told, the other thirty-nine are written, once each."""
    wire = Wire()

    found = _gather(wire, [_spec(number, bad=number == 17) for number in range(41)])

    assert [number for number, each in enumerate(found) if isinstance(each, StatementRefused)] == [17]
    assert [each for each in found if isinstance(each, int)] == [number + 1 for number in range(41) if number != 17]


def test_a_lost_connection_is_everybodys_and_isnt_tried_again() -> None:
    """Whether a lost statement was written is unknown: everybody in it hears so, with an error of his own."""
    wire = Wire(lost=True)

    found = _gather(wire, [_spec(number) for number in range(5)])

    assert all(isinstance(each, OutcomeUnknown) for each in found)
    assert len({id(each) for each in found}) == 5
    assert wire.statements == [1, 4]


async def test_what_no_job_is_guilty_of_is_told_to_all_at_once() -> None:
    """A login that is refused is tried once, not once for each half of those who wait for it."""
    wire = Wire(lost=True)
    wire.error = LoginRefused("was refused")
    gathering = AsyncGathering(wire.awrite)

    found = await asyncio.gather(*(gathering.enqueue(_spec(number)) for number in range(8)), return_exceptions=True)

    assert [type(each) for each in found] == [LoginRefused] * 8
    assert wire.statements == [8]


def test_a_lone_caller_is_sent_at_once() -> None:
    """One after the other, each job is a statement, and nobody waits for company."""
    wire = Wire()
    wire.go_on.set()
    gathering = Gathering(wire.write)

    assert [gathering.enqueue(_spec(number)) for number in range(3)] == [1, 2, 3]
    assert wire.statements == [1, 1, 1]


async def test_tasks_share_a_statement() -> None:
    """A hundred tasks that enqueue at once are one statement; one refused job fails its own task only."""
    wire = Wire()
    gathering = AsyncGathering(wire.awrite)
    calls = [gathering.enqueue(_spec(number)) for number in range(100)]
    assert await asyncio.gather(*calls) == list(range(1, 101))
    assert wire.statements == [100]

    calls = [gathering.enqueue(_spec(number, bad=number == 3)) for number in range(8)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [number for number, each in enumerate(found) if isinstance(each, StatementRefused)] == [3]
    assert [each for each in found if isinstance(each, int)] == [1, 2, 3, 5, 6, 7, 8]


async def test_a_cancelled_task_takes_nobody_along() -> None:
    """A caller that is cancelled before its turn isn't sent, and the others are."""
    wire = Wire()
    gathering = AsyncGathering(wire.awrite)
    tasks = [asyncio.create_task(gathering.enqueue(_spec(number))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()

    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert (found[0], found[2]) == (1, 3)
    assert isinstance(found[1], asyncio.CancelledError)
    assert wire.statements == [2]


async def test_a_gathered_statement_is_bounded() -> None:
    """So many jobs and so many characters at most go out together: it has to be one statement."""
    wire = Wire()
    gathering = AsyncGathering(wire.awrite)
    await asyncio.gather(*(gathering.enqueue(_spec(number)) for number in range(BATCH_MAX + 1)))
    assert wire.statements == [BATCH_MAX, 1]

    wire.statements.clear()
    large = JobSpec(task="good", payload="{}").with_payload(" " * 5 + "1" + " " * (CHARS_MAX // 4))
    await asyncio.gather(*(gathering.enqueue(large) for _ in range(5)))
    assert wire.statements == [3, 2]


def test_an_interrupted_sender_tells_the_others() -> None:
    """When the thread that sends is interrupted, the others in its statement hear that its outcome is unknown: the
    honest error of what was accepted and may not be committed [KIT-44]. Red when they wait for ever, or are told of
    success."""

    class Interrupted(BaseException):
        pass

    wire = Wire()
    gathering = Gathering(wire.write)

    def judge(specs: Sequence[JobSpec]) -> list[int]:
        if len(wire.statements) == 2:
            raise Interrupted
        return [1] * len(specs)

    wire.judge = judge  # type: ignore[method-assign]
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(gathering.enqueue, _spec(0))]
        assert wire.under_way.wait(PATIENCE_SECONDS)
        calls += [threads.submit(gathering.enqueue, _spec(number)) for number in (1, 2)]
        while len(gathering._waiting) < 2:
            threading.Event().wait(0.001)
        wire.go_on.set()
        kinds = [type(call.exception(PATIENCE_SECONDS)) for call in calls]

    assert kinds[0] is type(None)
    assert set(kinds[1:]) == {Interrupted, OutcomeUnknown}
    assert gathering.enqueue(_spec(3)) == 1
    with pytest.raises(StatementRefused):
        Gathering(Wire().judge).enqueue(_spec(1, bad=True))
