"""A worker and the bounds of its queues: it declares them, counts what stands in them, and lets in those in line."""

from __future__ import annotations

from perdure.app.registry import App
from tests.conftest import Database
from tests.rooms.worker.stage import Stage, working


async def test_what_waits_in_line_runs_in_order_as_room_comes(db: Database, stage: Stage) -> None:
    """With room for five, two hundred jobs run, none lost and in the order of their enqueue [ARC-7]. Guard: the
    sampler lets in those who wait."""
    app = App("shop")
    app.queue("mail", max_depth=5, when_full="spill")
    ran: list[int] = []

    @app.task(queue="mail")
    async def send(number: int) -> None:
        ran.append(number)

    async with working(db, app, queues={"mail": 1}):
        ids = []
        for number in range(0, 200, 10):
            ids += await stage.enqueue(*[send.job(number=each) for each in range(number, number + 10)])
        await stage.until_all_in("history", ids)
    assert ran == list(range(200))
