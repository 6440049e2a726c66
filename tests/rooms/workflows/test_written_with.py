"""What goes with a record: the end of a sleep and a patch, which are written with the next thing, or before it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import Retry, Workflow
from perdure.core.errors import TransientError
from perdure.runtime import faults
from perdure.workflows.loops.provider import Provider
from perdure.workflows.model import Entry
from tests.rooms.workflows.stage import Stage


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written by which journal, and when it has been."""
    ways: list[str] = []
    made = Provider.__init__

    def listened(self: Provider, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        for name in ("records", "takes"):
            journal = getattr(self, name)

            async def put(entry: Entry, name: str = name, write: Any = journal.put) -> Any:
                ways.append(f"{name}: {entry.name} {entry.state}")
                answer = await write(entry)
                ways.append(f"wrote {entry.name} {entry.state}")
                return answer

            journal.put = put

    monkeypatch.setattr(Provider, "__init__", listened)
    return ways


@pytest.fixture
def deferred(stage: Stage) -> None:
    """A table whose rows are refused when they are committed."""
    stage.conn.execute("create table paid (id int primary key)")
    stage.conn.execute("create table sent (id int references paid (id) deferrable initially deferred)")


@pytest.mark.usefixtures("deferred")
def test_what_was_to_be_written_with_a_transaction_outlives_its_rollback(stage: Stage) -> None:
    """A sleep's end and a patch that go with a transaction's record are written with its retry when the commit fails:
    the run goes on, and by the way that it was told first [DW-194, DW-204]. Red when they are gone with the rollback:
    then the run is parked as diverged, or the patch turns to the old way."""
    ways: list[bool] = []

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        await wf.sleep(0.05)
        ways.append(wf.patched("new"))
        async with wf.transaction("pay", retry=Retry(delays=(0.05,))) as tx:
            if len(ways) > 1:
                await tx.connection.execute("insert into paid values (1)")
            await tx.connection.execute("insert into sent values (1)")
        return "paid"

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == "paid"

    asyncio.run(play())
    assert set(ways) == {True}


def test_what_goes_with_a_record_is_never_written_after_it(stage: Stage, ways: list[str]) -> None:
    """The end of a sleep goes the same way as the signal after it, in order, so that no crash leaves the later alone
    [DW-194]. Red when the two go by different journals."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.sleep(0.05)
        await wf.signal("go")

    async def play() -> None:
        await stage.start(shop.run())
        await stage.signal("go")
        async with stage.working():
            await stage.result()

    asyncio.run(play())
    written = [each for each in ways if not each.startswith("wrote")]
    assert written[-2:] == ["takes: sleep done", "takes: signal go done"]


def test_what_was_before_a_gathering_is_durable_before_it_begins(stage: Stage, ways: list[str]) -> None:
    """The members of a gathering are recorded by several ways at once: the end of the sleep before them is written
    first, so that no crash leaves one of them without it [DW-194]. Red when it goes with one of them."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.sleep(0.05)
        async with wf.gather() as group:
            group.step("a", stage.do, "a")
            group.signal("go")

    async def play() -> None:
        await stage.start(shop.run())
        await stage.signal("go")
        async with stage.working():
            await stage.result()

    asyncio.run(play())
    assert ways[2:4] == ["records: sleep done", "wrote sleep done"]
    assert {"records: a done", "takes: signal go done"} <= set(ways[4:])


@pytest.mark.parametrize("detached", [False, True])
def test_what_goes_with_a_child_s_start_is_written_with_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, detached: bool
) -> None:
    """The end of a sleep and a patch that were to be written with the next record are, also where that is the start of
    a child, and the run is lost right after it [DW-194, DW-204, DW-192]. Red when they are left for later: then the run
    is parked as diverged, since its child stands recorded and what was before it doesn't."""
    lost: list[str] = []

    def lose(name: str) -> None:
        if name == "workflow.after_spawn" and not lost:
            lost.append(name)
            raise TransientError("the run is lost")

    monkeypatch.setattr(faults, "point", lose)

    @stage.app.workflow
    async def part(wf: Workflow) -> int:
        return 1

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        await wf.sleep(0.05)
        way = wf.patched("way")
        begun = wf.start(part, "part") if detached else wf.child(part, "part")
        return [way, await begun]

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == [True, "part" if detached else 1]

    asyncio.run(play())
    assert lost
