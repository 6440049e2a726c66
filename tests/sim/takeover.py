"""The database fails over to a standby that lacks the last commits, at a moment the seed decides.

What everybody shares is then as the standby has it. Every session is broken: whoever has something under way, or uses
its session next, is told that the connection is lost, and asks the server that has taken over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.core.errors import ConnectionLost
from tests.sim.deed import World
from tests.sim.talk import Actor, Talk
from tests.sim.truth import Model

if TYPE_CHECKING:
    from tests.sim.schedule import Schedule

LAST_MOMENT = 0.3
"""How often what is about to commit does so just before the server is gone, and nobody is told."""

LACKS_NOTHING = 0.2
"""How often the standby has everything after all."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What the standby has, besides the tables: what the model knows of them, and the runs that there may be."""

    model: Model
    flows: dict[str, int]


async def fail_over(schedule: Schedule) -> str:
    """The standby hears of nothing any more; or, some time after that, it takes over, and nothing that is under way
    will ever happen, nor has whatever was committed since."""
    if schedule.copy is None:
        schedule.copy = await _copied(schedule.world)
        return "the standby hears of nothing any more"
    late = [talk for talk in schedule.talks() if talk.commits and not talk.deed.abandon]
    for talk in late:
        if schedule.dice.random() < LAST_MOMENT:
            await _untold(schedule, talk)
    if schedule.dice.random() < LACKS_NOTHING:
        schedule.copy = await _copied(schedule.world)
    for session in schedule.stand.sessions:
        await schedule.stand.hang_up(session)
    for actor in schedule.actors:
        _cut_off(schedule, actor)
    for ghost in schedule.ghosts:
        schedule.stand.give_back(ghost.session)
    schedule.ghosts.clear()
    await _take_over(schedule.world, schedule.copy)
    schedule.copy = None
    return "another server takes over"


async def _copied(world: World) -> Copy:
    await world.stand.standby.save()
    return Copy(world.model.copy(), {**world.flows})


async def _untold(schedule: Schedule, talk: Talk) -> None:
    owner, talk.owner = talk.owner, None
    await schedule.end(talk, "commit")
    talk.owner = owner
    schedule.say(f"{talk.deed.name}: commit, at the last moment")


def _cut_off(schedule: Schedule, actor: Actor) -> None:
    """The answer that it has is its to take; what it has under way, or asks next, meets a server that is gone."""
    gone = ConnectionLost("the server is gone")
    if actor.talk is not None:
        actor.talk.open = False
        schedule.tell(actor.talk, gone)
    elif actor.told is not None and (deed := schedule.next_deed(actor)) is not None:
        deed.op.close()
        actor.told = gone
    else:
        actor.cut = True


async def _take_over(world: World, copy: Copy) -> None:
    await world.stand.standby.restore(world.dice)
    world.model.taken_over(copy.model, await world.stand.truth())
    world.flows = {**copy.flows}
