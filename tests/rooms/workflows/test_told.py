"""Whoever looks after a system hears of runs that fail: from the worker's log, and from the doctor."""

from __future__ import annotations

import asyncio

import pytest

from perdure import Permanent, Retry, Workflow
from perdure.admin import doctor
from perdure.admin.doctor import runs
from perdure.admin.model import Finding, Subject
from perdure.core.op import Op
from perdure.pg.drive import drive
from tests.rooms.workflows.stage import Stage


def _examined(stage: Stage) -> Finding:
    def ask(op: Op[list[Finding]]) -> list[Finding]:
        with stage.conn.transaction():
            return drive(stage.conn, op)

    [found] = doctor.examine(Subject(stage.db.url, stage.db.schema), ask, runs.CHECKS)
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
