"""Workflows that the processes of the chaos tests run."""

from __future__ import annotations

from typing import Any

from perdure import App, Retry, Workflow
from tests.chaos.traces import act, hang

app = App("shop")
QUICK = Retry(max_attempts=50, delays=(0.05,) * 49, jitter="none")


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


@app.workflow
async def five(wf: Workflow) -> list[Any]:
    """Five steps side by side, of which two are done at once."""
    async with wf.gather() as group:
        handles = [group.step(f"s{each}", act if each < 2 else hang, wf.id, f"s{each}", each) for each in range(5)]
    return [handle.result for handle in handles]


@app.workflow
async def two(wf: Workflow) -> Any:
    """Two steps, of which the first takes for ever unless the run is paid."""
    found = await wf.step("first", hang, wf.id, "first", "found")
    await wf.step("second", act, wf.id, "second")
    return found
