"""Runs whose steps take their process with them, or try to. A child imports their module, so they aren't local to a
test. A step leaves its trace in the table ``trace``, on a connection of its own."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, LiteralString

import psycopg

from perdure import App, Context, Retry, StepFailed, Workflow, context
from perdure.runtime import faults

app = App("culprit-runs")
AT_ONCE = Retry(max_attempts=5, delays=(0.01,) * 4, jitter="none")
TRACE = "create table trace (run text, step text, pid int, at timestamptz not null default clock_timestamp())"


def trace(run: str, step: str, result: Any = None) -> Any:
    """A step: leave a trace, in a thread."""
    with psycopg.connect(os.environ["TRACES_URL"], autocommit=True) as conn:
        conn.execute("insert into trace (run, step, pid) values (%s, %s, %s)", [run, step, os.getpid()])
    return result


async def atrace(run: str, step: str, result: Any = None) -> Any:
    """The same on the loop."""
    return await asyncio.to_thread(trace, run, step, result)


async def leave(code: int) -> None:
    """End the process without a word."""
    os._exit(code)


def segfault(_: int) -> None:
    """Read what isn't there."""
    ctypes.string_at(0)


def hoard(_: int) -> None:
    """Take memory until there is none, or more than any child is to have."""
    hoarded = list[bytes]()
    while len(hoarded) < 64:
        hoarded.append(b"x" * 16_777_216)


async def hang(_: int) -> None:
    """Hold the loop for ever."""
    time.sleep(3_600)


@app.task(run_in="process")
def hang_apart(number: int) -> None:
    """Never end, in a process of its own."""
    time.sleep(3_600)


@app.task(run_in="process")
def hoard_apart(number: int) -> None:
    """Take memory in a process of its own."""
    hoard(number)


async def hoard_in(tx: Any, _: int) -> None:
    """Take memory in a transaction."""
    await tx.connection.execute("select 1")
    hoard(0)


KINDS: dict[str, Any] = {
    "leave": leave, "segfault": segfault, "hoard": hoard, "hang": hang, "hoard_apart": hoard_apart,
    "hang_apart": hang_apart,
}  # fmt: skip


@app.workflow
async def guilty(wf: Workflow, kind: str, timeout: float | None = None) -> None:
    """Two steps that do something, and one that ends its process."""
    await wf.step("first", trace, wf.id, "first")
    await wf.step("second", atrace, wf.id, "second")
    if kind == "hoard_between":
        hoard(42)
    if kind == "hoard_in":
        await wf.transaction("kill", hoard_in, 42, retry=AT_ONCE)
    await wf.step("kill", KINDS[kind], 42, retry=AT_ONCE, timeout=timeout)


@app.workflow
async def beside(wf: Workflow) -> None:
    """Steps side by side, of which the last one ends their process when the others are done."""
    async with wf.gather(limit=3) as group:
        group.step("first", noted, wf.id, "first")
        group.step("second", noted, wf.id, "second")
        group.step("kill", leave_once, wf.id)


returned: list[str] = []
"""The steps that have returned in this process."""


async def noted(run: str, step: str) -> None:
    """A step that is known to have returned."""
    await atrace(run, step)
    returned.append(step)


async def leave_once(run: str) -> None:
    """The first time, end the process when two steps have returned, and the record of one waits for a lock."""
    with psycopg.connect(os.environ["TRACES_URL"], autocommit=True) as conn:
        if conn.execute("select from trace where step = 'left'").fetchone() is None:
            await _until(
                conn, "select exists (select from pg_locks where not granted) and %s = 2", lambda: len(returned)
            )
            for _ in range(10):  # the loop turns, and what the other step has come to is asked to be recorded
                await asyncio.sleep(0)
            trace(run, "left")
            os._exit(7)


async def _until(conn: psycopg.Connection[Any], query: LiteralString, asked: Callable[[], object]) -> None:
    """Wait until it is true: it is Postgres that knows."""
    while conn.execute(query, [asked()]).fetchone() != (True,):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@app.task(run_in="process")
def crunch(number: int) -> int:
    """A step in a process of its own."""
    return number + 1


@app.task(run_in="process", retry=Retry(max_attempts=1))
def crash(number: int) -> int:
    """One that ends it."""
    os._exit(9)


@app.task
def told(ctx: Context, number: int) -> str:
    """A step that is given its job's context."""
    return f"{ctx.job.task} {number}"


def fail_twice(run: str, step: str) -> str:
    """A step that succeeds the third time."""
    trace(run, step)
    with psycopg.connect(os.environ["TRACES_URL"], autocommit=True) as conn:
        row = conn.execute("select count(*) from trace where run = %s and step = %s", [run, step]).fetchone()
    if row is not None and row[0] < 3:
        raise ConnectionError("not yet")
    return "third"


async def write(tx: Any, run: str) -> str:
    """The function of a transaction."""
    await tx.connection.execute("insert into trace (run, step, pid) values (%s, 'tx', %s)", [run, os.getpid()])
    return "written"


@app.workflow
async def echo(wf: Workflow, value: int) -> int:
    """A child."""
    result: int = await wf.step("echo", trace, wf.id, "echo", value)
    return result


@app.workflow
async def elder(wf: Workflow) -> int:
    """A version that runs still have; its name in the module is the next one's."""
    return await wf.step("whose", os.getpid)


first_elder = elder


@app.workflow(version=2)  # type: ignore[no-redef]
async def elder(wf: Workflow) -> int:
    """The next version."""
    return 0


@app.workflow(version=2)
async def innocent(wf: Workflow) -> dict[str, Any]:
    """Something of everything that a run can do without being put to wait."""
    found: dict[str, Any] = {"thread": await wf.step("thread", trace, wf.id, "thread", 1)}
    found["loop"] = await wf.step("loop", atrace, wf.id, "loop", 2, timeout=30)
    found["process"] = await wf.step("process", crunch, 2)
    try:
        await wf.step("crash", crash, 1)
    except StepFailed as error:
        found["crash"] = error.kind
    found["context"] = await wf.step("context", told, 4)
    found["tx"] = await wf.transaction("tx", write, wf.id)
    async with wf.transaction("block") as tx:
        await tx.connection.execute("insert into trace (run, step, pid) values (%s, 'block', %s)", [wf.id, os.getpid()])
        tx.keep("kept")
    async with wf.gather(limit=2) as group:
        handles = [group.step(f"side {each}", trace, wf.id, f"side {each}", each) for each in range(4)]
    found["gather"] = [handle.result for handle in handles]
    found["early"] = await wf.signal("early")
    try:
        await wf.step("late", asyncio.sleep, 60, timeout=0.05, retry=Retry(max_attempts=1))
    except StepFailed as error:
        found["late"] = error.kind
    wf.set(at="the end")
    with context.bind(tenant="acme"):
        await wf.start(echo, f"{wf.id}/echo", 5)
    await wf.sleep(timedelta(0))
    return found


@app.workflow
async def waits(wf: Workflow) -> str:
    """A run that is put to wait: for a retry, a child, a moment, a signal."""
    await wf.step("first", trace, wf.id, "first", compensate=trace)
    third = await wf.step("fail", fail_twice, wf.id, "fail", retry=AT_ONCE)
    echoed = await wf.child(echo, f"{wf.id}/child", 3)
    await wf.sleep(0.05)
    said = await wf.signal("go")
    return f"{third} {echoed} {said}"


@app.workflow
async def four(wf: Workflow, point: str) -> list[Any]:
    """Four things to record, two of them in transactions of their own, in a child that dies at a fault point."""
    if os.getpid() != int(os.environ["WORKER_PID"]):
        faults.arm(f"workflow.{point}@2:kill")
    found = [await wf.step("a", atrace, wf.id, "a", 1)]
    found.append(await wf.transaction("tx", write, wf.id))
    found.append(await wf.step("b", trace, wf.id, "b", 3))
    async with wf.transaction("block") as tx:
        await tx.connection.execute("insert into trace (run, step, pid) values (%s, 'block', %s)", [wf.id, os.getpid()])
        tx.keep(4)
    return found


@app.workflow
async def fails(wf: Workflow) -> None:
    """A run that fails, and undoes what it has done."""
    await wf.step("do", trace, wf.id, "do", compensate=undo)
    raise ValueError("no")


def undo(run: str, step: str) -> None:
    """A compensation."""
    trace(run, f"undo {step}")


@app.workflow
async def lingers(wf: Workflow) -> str:
    """A step that takes its time, and one after it."""
    await wf.step("linger", linger, wf.id)
    await wf.step("after", trace, wf.id, "after")
    return "done"


async def linger(run: str) -> None:
    """Go on until somebody leaves the trace ``go``."""
    await atrace(run, "linger")
    with psycopg.connect(os.environ["TRACES_URL"], autocommit=True) as conn:
        await _until(conn, "select exists (select from trace where run = %s and step = 'go')", lambda: run)


@app.workflow
async def heeds(wf: Workflow) -> None:
    """A step that goes on until its job is to be cancelled."""
    await wf.step("heed", heed, wf.id, compensate=undo_heed)
    await wf.step("after", trace, wf.id, "after")


@app.task
async def heed(ctx: Context, run: str) -> None:
    """Go on until the job is to be cancelled."""
    await atrace(run, "heed")
    while not ctx.cancelled:  # noqa: ASYNC110  # told from outside
        await asyncio.sleep(0.01)
    await atrace(run, "heeded")


def undo_heed(run: str) -> None:
    """Its compensation."""
    trace(run, "undone")
