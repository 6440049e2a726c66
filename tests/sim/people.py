"""Everybody else: who enqueues, who keeps house, and people who cancel, retry, redrive, discard and pause."""

from __future__ import annotations

from random import Random

from perdure.core.errors import DatabaseError
from perdure.core.op import Op
from perdure.fleet.ops import upkeep, workers
from perdure.jobs.model import JobSpec
from perdure.jobs.ops import chores, control, queues
from perdure.jobs.ops import claim as claiming
from perdure.jobs.ops import rescue as rescuing
from perdure.jobs.ops.enqueue import enqueue
from perdure.jobs.ops.pause import pause, resume, sweep_pauses
from perdure.jobs.ops.wake import rouse
from perdure.workflows.ops import after
from tests.sim.deed import Deed, Script, World
from tests.sim.truth import asked, enqueued, nothing, paused, rescued, some, swept, woken

SPEC = JobSpec(task="work", payload="{}")


def enqueuer(world: World) -> Script:
    """One transaction after another: some jobs, sometimes in several statements, sometimes rolled back."""
    while not world.over:
        if len(world.model.truth.among("ready")) > world.plan.backlog:
            yield None
            continue
        sizes = [world.dice.choice((1, 1, 2, 3)) for _ in range(world.dice.choice((1, 1, 2)))]
        batches = [[_spec(world.dice) for _ in range(size)] for size in sizes]
        try:
            yield Deed("enqueue", _shopping(batches), enqueued, together=True, abandon=world.dice.random() < 0.1)
        except DatabaseError:
            yield None


def _spec(dice: Random) -> JobSpec:
    match dice.randrange(12):
        case 0:
            return SPEC.options(delay=dice.choice((1.0, 60.0)))
        case 1:
            return SPEC.options(expires=1.0)
        case 2:
            return SPEC.options(at_most_once=True)
        case 3:
            return SPEC.options(priority=dice.choice((0, 9)))
    return SPEC


def _shopping(batches: list[list[JobSpec]]) -> Op[list[int]]:
    ids: list[int] = []
    for batch in batches:
        ids += yield from enqueue(batch, wake=False)
    return ids


def housekeeper(world: World) -> Script:
    """Whatever a worker's chores do, in any order."""
    while not world.over:
        try:
            match world.dice.randrange(10):
                case 0 | 1:
                    yield from bury(world)
                case 2 | 3:
                    yield from rescue(world)
                case 4:
                    yield Deed("promote", chores.promote(), some("promote"))
                case 5:
                    yield Deed("release", chores.release(["work"]), some("release"))
                case 6:
                    yield from sweep()
                case 7:
                    yield Deed("sweep_pauses", sweep_pauses(), paused, together=True)
                case 8:
                    yield from stir()
                case _:
                    yield Deed("close_leases", rescuing.close_leases(), nothing)
        except DatabaseError:
            yield None


def bury(world: World) -> Script:
    """Declare dead whoever's beat has run out."""
    look = yield Deed("look", claiming.look([], ["work"]), reads=True)
    for each in look.expired:
        yield Deed("declare_dead", workers.declare_dead(each), nothing, together=True)


def rescue(world: World) -> Script:
    """Lease after lease of workers that aren't alive; then, later, the rows of those that are empty."""
    last = 0
    while True:
        found = yield Deed("rescue", rescuing.rescue(last), rescued)
        if found.lease is None:
            break
        last = found.lease
    yield Deed("close_leases", rescuing.close_leases(), nothing)


def sweep() -> Script:
    """Carry out the cancels that were requested."""
    yield Deed("sweep", _guarded(chores.sweep_cancels()), swept, together=True)


def stir() -> Script:
    """Wake runs that were asked to look up, and those whose moment has come."""
    yield Deed("nudged", after.sweep(), woken, together=True)
    yield Deed("rouse", rouse(), some("wake"))


def _guarded(op: Op[int]) -> Op[int]:
    return (yield from op) if (yield from upkeep.take("cancels")).mine else 0


def person(world: World) -> Script:
    """Cancels, retries, redrives, discards, pauses jobs and lets them go on, by hand; sometimes pauses the queue."""
    while not world.over:
        act = world.dice.choice(("cancel", "cancel", "retry", "redrive", "discard", "hold", "hold", "let on", "pause"))
        id = _chosen(world, act)
        try:
            match act:
                case _ if id is None:
                    yield None
                case "cancel":
                    yield Deed(f"cancel {id}", control.cancel(id), asked(id, {"cancelled": "cancel"}), together=True)
                case "retry":
                    yield Deed(f"retry {id}", control.retry(id), asked(id, {True: "redrive"}), together=True)
                case "redrive":
                    yield redrive(id)
                case "discard":
                    yield Deed(f"discard {id}", control.discard(id), asked(id, {"discarded": "discard"}), together=True)
                case "hold":
                    yield Deed(f"pause {id}", pause(id), paused, together=True)
                case "let on":
                    yield let_on(id)
                case _:
                    yield Deed("pause", queues.pause("default"), nothing)
                    yield Deed("resume", queues.resume("default"), nothing)
        except DatabaseError:
            yield None


def redrive(id: int) -> Deed:
    """Run a dead one again."""
    return Deed(f"redrive {id}", control.redrive(id), asked(id, {True: "redrive"}), together=True)


def let_on(id: int) -> Deed:
    """The pause is over."""
    return Deed(f"resume {id}", resume(id), paused, together=True)


def _chosen(world: World, act: str) -> int | None:
    """A job for that act; mostly one that stands where the act makes sense."""
    places = {"retry": ("dead", "scheduled"), "redrive": ("dead",), "discard": ("dead",), "hold": ("leased",)}.get(act)
    fitting = world.model.truth.among(*places) if places and world.dice.random() < 0.8 else []
    if act == "let on":
        fitting = sorted(world.model.truth.pauses)
    known = fitting or sorted(world.model.truth.jobs)[-12:]
    return world.dice.choice(known) if known else None
