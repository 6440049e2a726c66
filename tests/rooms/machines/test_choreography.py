"""A saga without a conductor: services answer each other's events, and a machine says how far each saga has come."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import App, Client, Context, Machine, Transition, context
from perdure.jobs.model import JobSpec
from perdure.testing import skip
from tests.rooms.worker.stage import Stage, until, working

BOUND = timedelta(hours=1)


def _shop() -> tuple[App, Machine]:
    """Three services, each of which knows its own event and the one that it sends; and the saga as it is to be."""
    app = App("shop")

    @app.task
    async def placed(ctx: Context, order: str) -> None:
        await _answer(ctx, order, None, charge.job(order))

    @app.task
    async def charge(ctx: Context, order: str) -> None:
        await _answer(ctx, order, "charged", None if order == "lost" else ship.job(order))

    @app.task
    async def ship(ctx: Context, order: str) -> None:
        await _answer(ctx, order, "shipped", None)

    @app.task
    async def refund(order: str) -> str:
        return f"{order} is paid back"

    saga = app.machine(
        Machine(
            "saga",
            initial="placed",
            transitions=[
                Transition("charged", "placed", "charged"),
                Transition("shipped", "charged", "shipped"),
                Transition("missing", "charged", "stalled-at-2", after=BOUND),
            ],
            enter={"stalled-at-2": lambda entity: refund.job(entity.id)},
        )
    )

    async def _answer(ctx: Context, order: str, event: str | None, after: JobSpec | None) -> None:
        """What a service has done, the saga's move and the next event are one commit."""
        async with ctx.transaction() as tx:
            if event is None:
                await tx.machines.create(saga, order)
            else:
                await tx.machines.move(saga, order, event)
            if after is not None:
                await tx.jobs.enqueue(after)

    return app, saga


async def test_a_saga_whose_next_event_is_missing_is_seen_to_be_stalled(stage: Stage) -> None:
    """Of two sagas that services drive by answering each other's events, one loses an event after its second step: it
    is seen to be stalled there once the time for the next one is over, and is compensated; the other one ends. Each
    saga's view is rebuilt from its moves, all of one correlation id, in order [PAT-58]. Red when a machine's alarm
    isn't enqueued with the entering of the state."""
    app, saga = _shop()
    async with working(stage.db, app):
        with Client(stage.db.url) as client:
            for order in ("well", "lost"):
                with context.bind(correlation_id=f"request-{order}"):
                    await asyncio.to_thread(client.jobs.enqueue, app.tasks["placed"].job(order))

            def state(order: str) -> str | None:
                row = stage.conn.execute("select state from perdure.entity where id = %s", [order]).fetchone()
                return None if row is None else str(row[0])

            await until(lambda: (state("well"), state("lost")) == ("shipped", "charged"))
            await asyncio.to_thread(skip, stage.db.url, BOUND)
            await until(lambda: state("lost") == "stalled-at-2")
            await stage.until_true("select count(*) = 1 from perdure.jobs where task = 'refund' and place = 'history'")
            views = {order: client.machines.history(saga, order) for order in ("well", "lost")}
            [repaid] = [job for job in client.jobs.list() if job.task == "refund"]

    assert {order: [move.target for move in moves] for order, moves in views.items()} == {
        "well": ["placed", "charged", "shipped"],
        "lost": ["placed", "charged", "stalled-at-2"],
    }
    for order, moves in views.items():
        assert {move.context["correlation_id"] for move in moves} == {f"request-{order}"}
    assert (repaid.result, repaid.context["correlation_id"]) == ("lost is paid back", "request-lost")
