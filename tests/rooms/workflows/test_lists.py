"""Lists of runs: each state is read from where such runs stand, a page at a time, and says when there is more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from perdure import Retry, Workflow, WorkflowFailed
from perdure.core.errors import InvalidOption
from perdure.core.run_errors import WorkflowNotFound
from perdure.pg.drive import drive
from perdure.workflows.ops import after
from perdure.workflows.ops.listing import STATES
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)

STANDING = {
    "completed": "completed", "waiting": "waiting", "parked": "parked", "failed": "failed", "unreadable": "failed",
    "buried": "failed", "compensated": "compensated", "compensation_failed": "compensation_failed",
    "deadline": "deadline", "cancelled": "cancelled", "discarded": "discarded", "paused": "paused",
    "paused at once": "paused", "running": "running",
}  # fmt: skip
"""Every run of the test, and the state that it is brought into."""


async def _brought_into_every_state(stage: Stage) -> None:
    @stage.app.workflow
    async def shop(wf: Workflow) -> Any:
        if wf.id in ("failed", "discarded"):
            await wf.step("b", stage.fail, "b", retry=ONCE)
        if wf.id.startswith("compensat"):
            undo = stage.do if wf.id == "compensated" else stage.fail
            await wf.step("a", stage.do, "a", compensate=undo, undo_retry=ONCE)
            await wf.step("b", stage.fail, "b", retry=ONCE)
        if wf.id == "parked":
            wf.step("never awaited", stage.do, 1)
        elif wf.id not in ("completed", "unreadable"):
            await wf.signal("go")
        return object() if wf.id == "unreadable" else 1

    @stage.app.workflow(queue="nobody")
    async def late(wf: Workflow) -> None: ...

    verbs = stage.client.workflows
    async with stage.working(queues={"default": 10}):
        for id in STANDING:
            of_nobody = id in ("running", "paused at once")
            await stage.start((late if of_nobody else shop).run(), id, deadline=0.3 if id == "deadline" else None)
        for id, verb in (("cancelled", verbs.cancel), ("paused", verbs.pause)):
            await stage.until_state("waiting", id)
            await stage.ask(verb, id)
        await stage.until_state("failed", "discarded")
        for id, verb in (("discarded", verbs.cancel), ("paused at once", verbs.pause)):
            await stage.ask(verb, id)
        buried = await stage.until_state("waiting", "buried")
        stage.rows("delete from perdure.waiting where id = %s returning id", buried.job)
        stage.rows("insert into perdure.dead (id, reason) values (%s, 'worker_lost') returning id", buried.job)
        await asyncio.to_thread(drive, stage.conn, after.close())  # as a worker does that buries
        for id, state in STANDING.items():
            await stage.until_state(state, id)


def test_each_state_s_list_has_the_runs_that_are_in_it(stage: Stage) -> None:
    """Whatever has brought a run into a state, the list of that state has it, and no other list does; a run that died
    of what has no state of its own has failed; a word that is no state is refused with what there is [DW-202, DW-208].

    Red when the lists of what has ended trust what was noted at the end more than what became of the job since.
    """
    asyncio.run(_brought_into_every_state(stage))
    listed = stage.client.workflows.list
    found = {state: {run.id for run in listed(state=state)} for state in STATES}

    assert found == {state: {id for id, into in STANDING.items() if into == state} for state in STATES}
    assert {run.id: run.state for run in listed()} == STANDING
    stage.rows("update perdure.run set completed = null returning job")  # as workers of a release before have left them
    assert {state: {run.id for run in listed(state=state)} for state in STATES} == found
    with pytest.raises(InvalidOption, match="give one of running, waiting, "):
        listed(state="asleep")


@pytest.mark.parametrize("asked", [
    {}, {"state": "waiting"}, {"attributes": {"region": "eu"}}, {"name": "shop"},
    {"name": "shop", "state": "waiting", "attributes": {"region": "eu"}},
])  # fmt: skip
def test_pages_of_runs_are_whole_while_runs_come_and_go(stage: Stage, asked: dict[str, Any]) -> None:
    """Page after page gives each run once, newest first, also when others are started and forgotten between two pages;
    the last page says that there is no more, and no page before it does. Red when a page is told by an offset, or
    when a full last page points to an empty one."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None: ...

    @stage.app.workflow
    async def other(wf: Workflow) -> None: ...

    def start(id: str) -> None:
        stage.client.workflows.start(shop.run(), id=id, attributes={"region": "eu"})
        stage.rows(
            "with w as (insert into perdure.waiting select job from perdure.run where id = %s returning id) "
            "delete from perdure.ready r using w where r.id = w.id returning r.id", id,
        )  # fmt: skip

    for number in range(6):
        start(f"r{number}")
        if asked and "name" in asked:
            stage.client.workflows.start(other.run(), id=f"other{number}")
    seen, cursor = [], None
    for page in range(3):
        found = stage.client.workflows.list(**asked, cursor=cursor, limit=2)
        seen += [run.id for run in found]
        cursor = found.next
        assert (cursor is None) is (page == 2)
        start(f"new{page}")
        if page == 0:
            for table in ("waiting where id", "run where job"):
                stage.rows(f"delete from perdure.{table} = %s returning 1", found[0].job)

    assert seen == ["r5", "r4", "r3", "r2", "r1", "r0"]
    for wrong in ({"cursor": -1}, {"cursor": "r1"}, {"limit": 0}, {"limit": 1_001}, {"attributes": ["region"]}):
        with pytest.raises(InvalidOption):
            stage.client.workflows.list(**wrong)


def test_an_end_that_history_has_forgotten_is_told_as_that(stage: Stage) -> None:
    """A run whose queue keeps its history for less long than runs are kept says that what came of it is forgotten, to
    whoever looks and to whoever waits, and not that it has failed. Red when what isn't there is taken for a failure."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> int:
        return 1

    async def play() -> None:
        async with stage.working():
            await stage.run(shop.run())

    asyncio.run(play())
    stage.rows("delete from perdure.history returning id")
    assert stage.client.workflows.get("r").state == "forgotten"
    assert [run.state for run in stage.client.workflows.list()] == ["forgotten"]
    with pytest.raises(WorkflowNotFound, match="isn't kept any more") as told:
        stage.client.workflows.wait("r", timeout=1)
    assert not isinstance(told.value, WorkflowFailed)


class Said(BaseModel):
    """What a run says of itself as a model."""

    name: str


def test_a_run_may_say_what_an_argument_may_be(stage: Stage) -> None:
    """A pydantic model among the attributes is kept at the start, and when the run sets it, and finds the run again, as
    one among arguments is [DW-208]. Red when attributes are written otherwise than they are checked: then the run
    begins again and again."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        wf.set(now=Said(name="paid"))
        await wf.step("a", stage.do, "a")

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run(), attributes={"first": Said(name="new")})
            await stage.result()

    asyncio.run(play())
    assert (asyncio.run(stage.get())).attributes == {"first": {"name": "new"}, "now": {"name": "paid"}}
    assert [run.id for run in stage.client.workflows.list(attributes={"now": Said(name="paid")})] == ["r"]
