"""Runs, which wait for a signal or for a child. What a driver does in an activation is done here in few words."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from perdure.core.errors import DatabaseError
from perdure.jobs.work import Claimed, End
from perdure.workflows.ends import RunEnd
from perdure.workflows.model import Entry, History, RunSpec
from perdure.workflows.ops.after import follow
from perdure.workflows.ops.inbox import signal
from perdure.workflows.ops.record import load, record
from perdure.workflows.ops.start import start
from tests.sim.deed import Deed, Script, World
from tests.sim.truth import begun, nothing, woken

FLOW = RunSpec(name="flow", version=1, payload="{}")
RUNS_MAX = 4
"""Runs of one schedule. Every other one waits for a signal, the others for a child."""

Activation = Generator[Deed | None, Any, End]


def caller(world: World) -> Script:
    """Starts runs, and sends each of them what it waits for: mostly while it is about to wait, sometimes twice."""
    while not world.over:
        try:
            if not world.flows or (len(world.flows) < RUNS_MAX and world.dice.random() < 0.3):
                yield from _begin(world)
            elif busy := [flow for flow, job in world.flows.items() if _is_leased(world, job)]:
                yield send(world.dice.choice(busy))
            elif world.dice.random() < 0.1:
                yield send(world.dice.choice(list(world.flows)))
            else:
                yield None
        except DatabaseError:
            yield None


def _begin(world: World) -> Script:
    flow = f"{'parent' if len(world.flows) % 2 else 'signal'} {len(world.flows)}"
    world.flows[flow] = 0
    [run] = yield Deed("start", start(FLOW, [flow], ["{}"]), begun, together=True)
    world.flows[flow] = run.job


def _is_leased(world: World, job: int) -> bool:
    standing = world.model.truth.jobs.get(job)
    return standing is not None and standing.place == "leased"


def send(flow: str) -> Deed:
    """The signal, once: it has a key."""
    return Deed(f"signal {flow}", signal(flow, "go", None, "go"), woken, together=True)


def activate(job: Claimed) -> Activation:
    """Go through the run as far as it goes now: to its end, or until it waits."""
    if job.cancelled:
        return RunEnd(job, "cancelled", 0, 0.01, then=follow)
    [history] = yield Deed("load", load([job.id]), nothing)
    if not isinstance(history, History):
        return End(job, "returned", 0, 0.01, reason="gone")
    if history.id.endswith("child") or history.messages or any(child.outcome for child in history.children.values()):
        return RunEnd(job, "completed", 1, 0.01, result="1", then=follow)
    if history.id.startswith("signal"):
        entry = Entry(job.id, job.generation, "go", 1, "signal", "waiting", detail="go")
    else:
        born = start(FLOW, [f"{history.id} child"], ["{}"], parent=job.id, close="cancel")
        [child] = yield Deed("start a child", born, begun, together=True)
        entry = Entry(job.id, job.generation, "child", 1, "child", "waiting", detail=str(child.job))
    yield Deed("record", record([entry]), nothing)  # if it is stale, so is what follows
    return RunEnd(job, "waiting", 0, 0.01, then=follow)
