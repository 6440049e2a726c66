"""An app of workflows and tasks, one of which kills whoever runs it. Every try of a step leaves a row, as the
checkout's do."""

from __future__ import annotations

import asyncio
import os
import signal

from perdure import App, Workflow
from tests.chaos.traces import act

app = App("poison")


@app.task
async def nap(seconds: float) -> None:
    """Take some time, and leave nothing."""
    await asyncio.sleep(seconds)


async def slowly(run: str, step: str) -> str:
    """A step that leaves its row, and takes some time."""
    await act(run, step)
    await asyncio.sleep(0.1)
    return step


async def murder(run: str) -> None:
    """Kill the process it runs in."""
    await act(run, "murder")
    os.kill(os.getpid(), signal.SIGKILL)


@app.workflow
async def order(wf: Workflow) -> list[str]:
    """Three steps, and rows of the application with the record of one."""
    found = [await wf.step("reserve", slowly, wf.id, "reserve")]
    async with wf.transaction("pay") as tx:
        await tx.connection.execute("insert into paid (run) values (%s)", [wf.id])
    found.append(await wf.step("send", slowly, wf.id, "send"))
    return found


@app.workflow
async def poison(wf: Workflow) -> None:
    """Two steps, and one that kills."""
    await wf.step("reserve", slowly, wf.id, "reserve")
    await wf.step("charge", slowly, wf.id, "charge")
    await wf.step("murder", murder, wf.id)
