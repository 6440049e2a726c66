"""Arguments have a version: older ones are brought up to date, newer ones are left to newer workers."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.app.registry import App
from perdure.core.errors import InvalidTask
from perdure.jobs.model import JobSpec
from tests.rooms.worker.stage import Stage, working


async def test_a_newer_payload_waits_for_a_newer_worker(stage: Stage) -> None:
    """A worker whose code takes version 1 parks arguments of version 2, no attempt charged and the handler not called;
    one that takes 2 runs them, and what waits in version 1, upgraded [ARC-54]. Red when versions aren't compared, or
    the newer worker doesn't release what is parked."""
    older, newer, called = App("older"), App("newer"), []

    @older.task(name="charge")
    async def charge_v1(cents: int) -> None:
        called.append(cents)

    @newer.task(name="charge", version=2)
    async def charge_v2(amount: dict[str, Any]) -> dict[str, Any]:
        return amount

    @charge_v2.upgrade(1)
    def _(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"amount": {"cents": arguments["cents"], "currency": "EUR"}}

    (ahead,) = await stage.enqueue(charge_v2.job({"cents": 5, "currency": "USD"}))
    async with working(stage.db, older):
        (parked,) = await stage.until_in("held", ahead)
    (behind,) = await stage.enqueue(charge_v1.job(7))
    async with working(stage.db, newer):
        done = await stage.until_in("history", ahead, behind)

    assert (parked.reason, parked.attempt, called) == ("newer_version", 0, [])
    assert [job.result for job in done] == [{"cents": 5, "currency": "USD"}, {"cents": 7, "currency": "EUR"}]
    assert [job.attempt for job in done] == [1, 1]


async def test_upgrades_follow_one_another_in_every_place(stage: Stage) -> None:
    """Arguments go through the upgrade of each version between theirs and the code's, in threads too; a version whose
    arguments need no change needs no upgrade. Red when one step is left out."""
    app = App("a")

    @app.task(name="add", version=4)
    def add(total: int) -> int:
        return total

    add.upgrade(1)(lambda arguments: {"parts": arguments["parts"] + [10]})
    add.upgrade(3)(lambda arguments: {"total": sum(arguments["parts"])})
    specs = [
        JobSpec(task="add", payload='{"parts": [1, 2]}'),
        JobSpec(task="add", payload='{"parts": [1, 2]}', version=2),
        JobSpec(task="add", payload='{"parts": [1, 2]}', version=3),
        add.job(total=4),
    ]
    ids = await stage.enqueue(*specs)
    async with working(stage.db, app):
        done = await stage.until_in("history", *ids)

    assert [job.result for job in done] == [13, 3, 3, 4]


def test_an_upgrade_that_can_not_be_is_refused() -> None:
    """An upgrade from the code's own version or a later one, or a second one from the same, is refused by name."""
    app = App("a")

    @app.task(version=2)
    async def charge(cents: int) -> None: ...

    charge.upgrade(1)(dict)
    for version in (0, 1, 2, 3):
        with pytest.raises(InvalidTask, match="charge"):
            charge.upgrade(version)
