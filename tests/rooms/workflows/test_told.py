"""Whoever looks after a system hears of runs that fail: from the worker's log, and from the doctor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure import App, Permanent, Retry, Workflow
from perdure.admin import doctor
from perdure.admin.doctor import runs
from perdure.admin.explain import Explanation, explain
from perdure.admin.model import Finding, Subject
from perdure.core.op import Op
from perdure.pg.drive import drive
from tests.rooms.workflows.stage import Stage


def _examined(stage: Stage, check: str = runs.NAME) -> Finding:
    def ask(op: Op[list[Finding]]) -> list[Finding]:
        with stage.conn.transaction():
            return drive(stage.conn, op)

    found = doctor.examine(Subject(stage.db.url, stage.db.schema), ask, runs.CHECKS)
    return {each.check: each for each in found}[check]


def _explained(stage: Stage, id: str = "r") -> Explanation:
    found = drive(stage.conn, explain(stage.client.workflows.get(id).job))
    assert found is not None
    return found


def test_what_fails_has_a_line_and_what_is_stranded_a_finding(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed attempt of a step has a line at INFO, a run that has failed one at WARNING, one that couldn't be
    undone one at ERROR, each with the run, the step and what was raised, and a mark of whose job it is; the doctor
    warns of parked runs and fails for those that are half undone. Red without any of the lines, and without the
    check."""
    caplog.set_level("INFO", logger="perdure.workflows")
    broken = True

    async def pay() -> None:
        raise ConnectionError("no way\nto the bank")

    async def refund(what: str) -> None:
        raise Permanent("no such charge")

    @stage.app.workflow
    async def shop(wf: Workflow, undo: bool) -> None:
        await wf.step("charge", stage.do, "charge", compensate=refund if undo else stage.do)
        await wf.step("pay", pay, retry=Retry(max_attempts=2, delays=(0.01,)))

    @stage.app.workflow
    async def odd(wf: Workflow) -> None:
        if broken:
            await wf.step("", stage.do, 1)

    async def play() -> None:
        nonlocal broken
        async with stage.working():
            healthy = _examined(stage)
            await stage.start(shop.run(undo=False), "good")
            await stage.until_state("compensated", "good")
            await stage.start(odd.run(), "odd")
            await stage.until_state("parked", "odd")
            warned = _examined(stage)
            await stage.start(shop.run(undo=True), "bad")
            await stage.until_state("compensation_failed", "bad")
            failed = _examined(stage)
            broken = False
            await stage.ask(stage.client.workflows.resume, "odd")
            await stage.result("odd")
        assert [each.status for each in (healthy, warned, failed)] == ["ok", "warn", "fail"]
        assert "parked runs: 1, first odd (name: " in warned.message
        assert "runs that couldn't be undone: 1, first bad at 'undo charge'" in failed.message
        assert (failed.evidence["compensation_failed"], failed.evidence["parked"]) == (1, 1)

    asyncio.run(play())
    said = [(each.levelname, each.getMessage()) for each in caplog.records if hasattr(each, "claimed")]
    for run in ("good", "bad"):
        for attempt in (1, 2):
            line = f"run {run}: step 'pay' failed in attempt {attempt}: ConnectionError: no way"
            assert ("INFO", line) in said
    lines = [text for level, text in said if level == "WARNING"]
    assert len(lines) == 1
    assert lines[0].startswith("run good of shop has failed (compensated) at 'pay': ")
    assert "ConnectionError: no way" in lines[0]
    lines = [text for level, text in said if level == "ERROR"]
    assert len(lines) == 1
    assert lines[0].startswith("run bad of shop has failed (compensation_failed) at 'undo charge': ")
    assert "no such charge" in lines[0]
    assert ("INFO", "run bad: step 'undo charge' failed in attempt 1: Permanent: no such charge") in said


def _editions(stage: Stage) -> tuple[App, App, App, Any]:
    """A workflow that waits; the same with a mistake there; and with a compensation that takes something else."""
    old, odd, new = App("shop"), App("shop"), App("shop")

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    async def undo_for(what: str, why: str) -> None: ...

    async def three(wf: Workflow, back: Callable[..., Any]) -> None:
        await wf.step("a", stage.do, "a", compensate=back)
        await wf.step("b {c}", stage.do, "b", compensate=undo)
        await wf.step("plain", stage.do, "plain")

    @old.workflow
    async def shop(wf: Workflow) -> None:
        await three(wf, undo)
        await wf.signal("go")

    @odd.workflow(name="shop")
    async def odder(wf: Workflow) -> None:
        await three(wf, undo)
        await wf.step("", stage.do, "no name")

    @new.workflow(name="shop")
    async def newer(wf: Workflow) -> None:
        await three(wf, undo_for)
        await wf.signal("go")

    return old, odd, new, shop


def test_a_run_that_is_parked_while_it_is_undone_says_what_is_owed(stage: Stage) -> None:
    """Explain says of a run that new code parks in the middle of its compensations what was undone and what is owed; of
    one that is parked before that, that nothing was undone, and that a cancel undoes no sooner than code comes as far:
    which it does then. Red when each parked run is said to have undone nothing, and a cancel to undo at once."""
    old, odd, new, shop = _editions(stage)
    parked = "select exists (select from perdure.held join perdure.job j using (id) where j.generation > %s)"

    async def play() -> None:
        await stage.start(shop.run())
        async with stage.working(old):
            await stage.until_state("waiting")
        await stage.ask(stage.client.workflows.resume, "r")
        async with stage.working(odd):
            await stage.until_state("parked")
            found = await stage.ask(_explained, stage)
            assert found.next == "nothing, until it is resumed; nothing was undone"
            assert "cancel r undoes what was done, but no sooner than workers have code that comes as far" in str(
                found.fix
            )
            assert await stage.ask(stage.client.workflows.cancel, "r") == "requested"
            await stage.until_true(parked, found.evidence["generation"])
            assert (await stage.ask(_explained, stage)).next == found.next
        await stage.ask(stage.client.workflows.resume, "r")
        async with stage.working(new):
            await stage.until_true(
                "select exists (select from perdure.step where name = 'undo b {c}' and state = 'done')"
            )
            await stage.until_state("parked")
            owed = "undone so far: b {c}; owed: what of plain, a is to be compensated"
            assert (await stage.ask(_explained, stage)).next == f"nothing, until it is resumed; {owed}"
        await stage.ask(stage.client.workflows.resume, "r")
        async with stage.working(old):
            await stage.until_state("cancelled")

    asyncio.run(play())
    assert stage.did == ["a", "b", "plain", "undo b", "undo a"]


def test_what_cant_be_read_is_said_to_be_rewound(stage: Stage) -> None:
    """Of a run that is parked because a step has returned what isn't of its declared type, explain has the very
    command that does the step again, and with mended code it completes. Red when only a resume is told, which parks
    it again."""
    wrong: list[Any] = ["five"]

    async def count() -> int:
        return wrong[0]  # type: ignore[no-any-return]

    @stage.app.workflow
    async def shop(wf: Workflow) -> int:
        return await wf.step("count all", count)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("parked")
            fix = str((await stage.ask(_explained, stage)).fix)
            assert "then perdure workflows resume r; or " in fix
            assert "then perdure workflows rewind r 'count all', which does it again, and what came after it" in fix
            wrong[:] = [5]
            await stage.ask(stage.client.workflows.rewind, "r", "count all")
            assert await stage.result() == 5

    asyncio.run(play())


def test_a_run_that_waits_for_nothing_is_named_and_woken_by_hand(stage: Stage) -> None:
    """A run whose record of what it waits for was lost with a server, and that no signal wakes any more, is named by
    the doctor with what to type; ``resume`` lets it look, and it takes the signal. Others that wait, for a signal or a
    moment, aren't named. Red without the check."""

    @stage.app.workflow
    async def shop(wf: Workflow, timeout: float | None = None) -> str:
        return str(await wf.signal("go", timeout=timeout))

    async def play() -> None:
        async with stage.working():
            for id, timeout in (("lost", None), ("late", 3600.0), ("well", None)):
                await stage.start(shop.run(timeout), id)
                await stage.until_state("waiting", id)
            assert _examined(stage, runs.ASLEEP).status == "ok"
            lose = "delete from perdure.step s using perdure.run r where r.job = s.run and r.id in ('lost', 'late')"
            stage.conn.execute(lose.encode())
            await stage.signal("go", "shipped", id="lost")
            found = _examined(stage, runs.ASLEEP)
            assert (found.status, found.evidence["asleep"]) == ("warn", 1)
            assert "first lost (it waits, and for nothing" in found.message
            assert "`perdure workflows resume ID` wakes one that waits" in found.message
            await stage.ask(stage.client.workflows.resume, "lost")
            assert await stage.result("lost") == "shipped"
            assert _examined(stage, runs.ASLEEP).status == "ok"

    asyncio.run(play())
