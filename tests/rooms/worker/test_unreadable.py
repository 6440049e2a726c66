"""Jobs that a worker can't read, written past every check: they end by themselves, and nothing else does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from perdure.app.registry import App
from tests.rooms.worker.stage import Stage, working

DEEP = '{"value": ' + "[" * 3_000 + '"],{"' + "]" * 3_000 + ', "b": 1}'
FAR = datetime.max.replace(tzinfo=UTC)


def _app() -> App:
    app = App("a")

    @app.task
    async def work(value: Any = None) -> Any:
        return value

    return app


@pytest.mark.parametrize(
    ("column", "cast", "value"),
    [("payload", "json", DEEP), ("options", "json", '{"timeout": ' + DEEP + "}")],
    ids=["arguments nested too deeply", "options nested too deeply"],
)
async def test_a_job_that_can_not_be_read_ends_alone(stage: Stage, column: str, cast: str, value: str) -> None:
    """A job whose body no worker can decode is dead as ``unreadable`` at its first claim, with no attempt charged and
    nobody to be rescued, and its batch mates complete. Red when ``in_hand`` raises: then the worker ends."""
    app = _app()
    before, bad, after = await stage.enqueue(*[app.find("work").job(f'{each}],["') for each in range(3)])
    await asyncio.to_thread(
        stage.conn.execute, f"update perdure.job set {column} = %s::{cast} where id = %s".encode(), [value, bad]
    )
    async with working(stage.db, app):
        mates = await stage.until_in("history", before, after)
        await stage.until_all_in("dead", [bad])
    dead = await stage.rows("select reason, attempt, rescues, error from perdure.jobs where id = %s", bad)

    assert [each[:3] for each in dead] == [("unreadable", 0, 0)]
    assert "can't be read" in dead[0][3]
    assert [mate.result for mate in mates] == ['0],["', '2],["']


@pytest.mark.parametrize(
    ("moment", "outcome"),
    [("infinity", "completed"), ("-infinity", "expired"), ("20000-01-01", "completed"), (FAR.isoformat(), "completed")],
)
async def test_an_expiry_that_no_datetime_holds_is_honoured(stage: Stage, moment: str, outcome: str) -> None:
    """A job that expires at a moment outside of Python's years, for a server whose time zone is east, runs unless that
    moment has passed, and so do its mates. Red when a claim sends the expiry as a date."""
    app = _app()
    name = await stage.value("select current_database()")
    await asyncio.to_thread(stage.conn.execute, f"alter database \"{name}\" set timezone = 'Europe/Rome'".encode())
    odd, plain = await stage.enqueue(app.find("work").job(), app.find("work").job())
    await asyncio.to_thread(stage.conn.execute, "update perdure.job set expires_at = %s where id = %s", [moment, odd])
    async with working(stage.db, app):
        await stage.until_all_in("history", [odd, plain])

    assert await stage.rows("select outcome from perdure.history order by id") == [(outcome,), ("completed",)]
