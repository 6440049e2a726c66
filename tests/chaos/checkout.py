"""Workflows that the processes of the chaos tests run. Every try of a step leaves a row; its effect is one by its
key."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

import asyncpg

from perdure import App, Retry, StepFailed, Workflow

app = App("shop")
QUICK = Retry(max_attempts=50, delays=(0.05,) * 49, jitter="none")


class _Ledger:
    """One connection for all steps of this process."""

    def __init__(self) -> None:
        self._conn: asyncpg.Connection[asyncpg.Record] | None = None
        self._turn = asyncio.Lock()

    async def enter(self, run: str, step: str) -> None:
        """Keep that a step was tried, and its effect, which happens once."""
        async with self._turn:
            if self._conn is None or self._conn.is_closed():
                self._conn = await asyncpg.connect(os.environ["EFFECTS_URL"])
            await self._conn.execute(
                "with t as (insert into tried (run, step, pid) values ($1, $2, $3)) "
                "insert into done (run, step) values ($1, $2) on conflict do nothing",
                run, step, os.getpid(),
            )  # fmt: skip

    async def paid(self, run: str) -> bool:
        """Whether the test has paid the run."""
        async with self._turn:
            assert self._conn is not None
            return bool(await self._conn.fetchval("select exists (select from paid where run = $1)", run))


_ledger = _Ledger()


async def act(run: str, step: str, result: Any = None) -> Any:
    """A step's work."""
    await _ledger.enter(run, step)
    return result


async def stumble(run: str, step: str) -> None:
    """A step that fails for good, and for no other reason: a server that is away is waited for."""
    while True:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            await _ledger.enter(run, step)
            break
        await asyncio.sleep(0.05)
    raise ValueError(step)


@app.workflow(version=1)
async def checkout(wf: Workflow, order: int) -> str:
    """Reserve, charge, mark as paid, wait for the shipment, notify: five steps, of which each is recorded otherwise."""
    await wf.step("reserve", act, wf.id, "reserve", compensate=act)
    charge = await wf.step("charge", act, wf.id, "charge", f"ch_{order}", retry=QUICK)
    async with wf.transaction("mark-paid") as tx:
        await tx.connection.execute("insert into paid (run) values (%s)", [wf.id])
    shipped = await wf.signal("shipped")
    async with wf.gather() as group:
        group.step("notify", act, wf.id, "notify")
        group.child(invoice, f"{wf.id}/invoice", wf.id)
    return f"{charge} {shipped}"


@app.workflow
async def invoice(wf: Workflow, order: str) -> None:
    """A child of one step."""
    await wf.step("invoice", act, wf.id, "invoice")


async def hang(run: str, step: str, result: Any = None) -> Any:
    """A step's work that takes for ever, unless its run is paid."""
    await _ledger.enter(run, step)
    if not await _ledger.paid(run):
        await asyncio.Event().wait()
    return result


@app.workflow
async def five(wf: Workflow) -> list[Any]:
    """Five steps side by side, of which two are done at once."""
    async with wf.gather() as group:
        handles = [group.step(f"s{each}", act if each < 2 else hang, wf.id, f"s{each}", each) for each in range(5)]
    return [handle.result for handle in handles]


Program = list[Any]


@app.workflow
async def play(wf: Workflow, program: Program, path: str = "") -> Any:
    """Run a random program: each line is an instruction, and says what it brings."""
    return [await _instruction(wf, line, f"{path}{number}") for number, line in enumerate(program)]


async def _instruction(wf: Workflow, line: list[Any], name: str) -> Any:
    kind, *rest = line
    if kind == "step":
        return await wf.step(name, act, wf.id, name, rest[0])
    if kind == "undoable":
        return await wf.step(name, act, wf.id, name, rest[0], compensate=undo_of(wf.id, name))
    if kind == "stumble":
        try:
            await wf.step(name, stumble, wf.id, name, retry=Retry(max_attempts=rest[0], delays=(0.01,) * 5))
        except StepFailed as error:
            return error.kind
    if kind == "sleep":
        await wf.sleep(rest[0] / 1000)
    if kind == "signal":
        return await wf.signal(f"s{rest[0]}")
    if kind == "child":
        return await wf.child(play, f"{wf.id}/{name}", rest[0])
    if kind == "gather":
        async with wf.gather("collect_all", limit=2) as group:
            handles = [group.step(f"{name}.{each}", act, wf.id, f"{name}.{each}", each) for each in range(rest[0])]
        return [handle.result for handle in handles]
    if kind == "raise":
        raise ValueError(name)
    return None


def undo_of(run: str, name: str) -> Any:
    """A compensation that takes whatever its step took."""

    async def undo(*_: Any) -> None:
        await _ledger.enter(run, f"undo {name}")

    return undo
