"""One schedule: a seed decides who goes next, who crashes, who is told nothing, and how far time jumps.

A step is one statement, or one commit, of one actor. Every statement that would commit by itself is held open until its
commit is drawn as a step of its own, so that whatever can happen between the two does. When the chaos is over, whoever
is left works everything off, with the floors it has; then nothing may be left over.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeAlias

from perdure.core.errors import ConnectionLost, DatabaseError, LockTimeout, TransientError
from tests.sim import crew, flows, people
from tests.sim.calm import wind_up
from tests.sim.clerk import without_timers
from tests.sim.crew import Worker
from tests.sim.deed import Deed, Script, World
from tests.sim.floors import check_passed
from tests.sim.plan import JUMPS, Plan
from tests.sim.stand import Stand
from tests.sim.takeover import Copy, fail_over
from tests.sim.talk import Actor, Talk, shown, workers_of
from tests.sim.truth import Model, Violation

FINISH_ROUNDS_MAX = 300
PARTS = {"claimer": crew.claimer, "settler": crew.settler, "heart": crew.heart, "handler": crew.handler}
OTHERS = {
    "enqueuer": people.enqueuer,
    "housekeeper": people.housekeeper,
    "person": people.person,
    "caller": flows.caller,
}

Anybody: TypeAlias = Actor | Talk
Fate = Literal["committed", "rolled back", "late"]


@dataclass
class Schedule:
    """One run. ``steps``: how many of chaos. ``trace`` has a line for each, the same for the same seed."""

    stand: Stand
    seed: int
    steps: int = 60
    trace: list[str] = field(default_factory=list)

    async def run(self, edits: Mapping[str, tuple[str, str]] | None = None) -> None:
        """Raises Violation, with everything said by then in ``trace``."""
        with without_timers():
            await self._run(edits or {})

    async def _run(self, edits: Mapping[str, tuple[str, str]]) -> None:
        await self.stand.clear(edits)
        self.dice, self.model = Random(self.seed), Model()
        self.plan = Plan.draw(self.dice)
        self.world = World(self.stand, self.model, self.dice, self.plan)
        self.ghosts: list[Talk] = []
        self.copy: Copy | None = None
        await self._cast()
        last: Anybody | None = None
        for step in range(self.steps):
            last = await self._chaos(step, last)
        self.step = self.steps
        self.say("chaos is over")
        await self._finish()

    async def _chaos(self, step: int, last: Anybody | None) -> Anybody | None:
        """One step; who took it, if anybody did."""
        self.step = step
        dice, plan = self.dice, self.plan
        if dice.random() < plan.jump:
            await self._jump(step)
            return last
        if plan.fail_over and dice.random() < plan.fail_over:
            self.say(await fail_over(self))
            return last
        if dice.random() < plan.freeze:
            await self._freeze(step)
        free = [each for each in self._everybody() if not self._waits(each) and each.frozen_until <= step]
        if not free:
            await self._all_wait(step)
            return None
        if dice.random() < plan.give_up and (stuck := [actor for actor in self.actors if self._waits(actor)]):
            await self._give_up(dice.choice(stuck), step)
            return last
        chosen = last if last in free and dice.random() < plan.stick else dice.choice(free)
        if dice.random() < plan.spite and (late := [each for each in self.actors if self._late(each)]):
            chosen = dice.choice(late)  # frozen or not, it comes back now
            chosen.frozen_until = 0
        said = await self._step_of(chosen)
        others = dice.sample(free, len(free))
        while said is None and others:  # it had nothing to do, which is no step
            chosen = others.pop(0)
            said = await self._step_of(chosen)
        if said is None:  # nobody who could go on has
            await self._jump(step)
            return None
        self.say(said)
        self._linger(chosen, step)
        await self._woken(step)
        return chosen

    def talks(self) -> list[Talk]:
        """What is under way."""
        return [*(actor.talk for actor in self.actors if actor.talk is not None), *self.ghosts]

    def _everybody(self) -> list[Anybody]:
        return [*self.actors, *self.ghosts]

    async def _step_of(self, each: Anybody, *, lucky: bool = False) -> str | None:
        return await (self._ghost(each) if isinstance(each, Talk) else self._act(each, lucky=lucky))

    async def _cast(self) -> None:
        """Who takes part, and a few jobs to begin with."""
        self.actors: list[Actor] = []
        plan = self.plan
        for number in range(plan.workers):
            worker = Worker(number, self.stand.queue, self.model)
            for part in ("claimer", "settler", "heart", "handler")[: 4 if plan.handlers else 3]:
                await self._join(f"{part}{number}", worker)
        others = (plan.enqueuers, plan.housekeepers, plan.people, plan.callers)
        for name, number_of in zip(OTHERS, others, strict=True):
            for number in range(number_of):
                await self._join(f"{name}{number}", None)
        for actor in self.actors:
            if actor.name.startswith(("claimer", "enqueuer")) or actor.name == "caller0":
                script = crew.register(actor.worker) if actor.worker else self._script(actor)
                await self._straight(actor, script)

    async def _join(self, name: str, worker: Worker | None) -> None:
        actor = Actor(name, worker, await self.stand.session(), iter(()))  # type: ignore[arg-type]
        actor.script = self._script(actor)
        self.actors.append(actor)

    def _script(self, actor: Actor) -> Script:
        kind = actor.name.rstrip("0123456789")
        if actor.worker is not None:
            return PARTS[kind](self.world, actor.worker)
        return OTHERS[kind](self.world)

    async def _straight(self, actor: Actor, script: Script) -> None:
        """Do the script's first deed here and now, without chaos."""
        deed = next(script)
        if deed is None:  # there are enough jobs by now
            return
        deed.abandon = False
        talk = Talk(actor.session, deed, actor)
        while not talk.over or talk.open:
            await self._step(talk)
        with suppress(StopIteration):
            script.send(talk.result)
        actor.told = None
        script.close()

    # One step

    def _late(self, each: Actor) -> bool:
        """Whether it settles jobs for a worker that has some in hand which aren't its own any more."""
        if each.worker is None or not each.name.startswith("settler") or self._waits(each):
            return False
        return bool(crew.late(self.model, each.worker))

    def _waits(self, each: Anybody) -> bool:
        talk = each if isinstance(each, Talk) else each.talk
        return talk is not None and talk.session.sent is not None

    async def _freeze(self, step: int) -> None:
        """Somebody stops for a while, in the middle of whatever it was about: a worker with all its parts, so that the
        others take it for dead."""
        chosen = self.dice.choice(self.actors)
        until = step + self.dice.choice((8, 15, 25))
        for actor in self._process(chosen):
            actor.frozen_until = until
        self.say(f"{chosen.name} freezes until step {until}")
        if chosen.worker is not None:
            await self.stand.jump(4.0)

    def _linger(self, each: Anybody, step: int) -> None:
        """Somebody who has written something takes its time to commit: others pass what it has written."""
        if isinstance(each, Talk) or each.talk is None or not each.talk.open:
            return
        if each.talk.deed.name.startswith(self.plan.lingering) and self.dice.random() < self.plan.linger:
            each.frozen_until = step + self.dice.choice((10, 20, 40))

    def _process(self, actor: Actor) -> list[Actor]:
        """The actor, and the other parts of its worker."""
        return [each for each in self.actors if each is actor or (actor.worker and each.worker is actor.worker)]

    async def _act(self, actor: Actor, *, lucky: bool = False) -> str | None:
        """The actor's next step: a new deed, or the next statement or commit of the one under way; None for nothing."""
        if actor.talk is None:
            deed = self.next_deed(actor)
            if deed is None:
                return None
            if actor.cut:
                deed.op.close()
                actor.cut, actor.told = False, ConnectionLost("the server is gone")
                return f"{actor.name} {deed.name}: the server is gone"
            actor.talk = Talk(actor.session, deed, actor)
        talk = actor.talk
        luck = 1.0 if lucky else self.dice.random()
        for chance, bad_luck in (
            (self.plan.crash, self._crash),
            (self.plan.lose, self._lose),
            (self.plan.refuse, self._refuse),
        ):
            if luck < chance:
                return await bad_luck(actor, talk)
            luck -= chance
        return f"{actor.name} {await self._step(talk)}"

    def next_deed(self, actor: Actor) -> Deed | None:
        """What it is about next, told what became of the last; None when it lets others go first."""
        told, actor.told = actor.told, None
        try:
            if isinstance(told, DatabaseError):
                return actor.script.throw(told)
            return actor.script.send(told)
        except StopIteration:
            actor.over = True
            return None

    async def _step(self, talk: Talk) -> str:
        """The next statement of the talk, or its commit."""
        name = talk.deed.name
        if talk.commits:
            how = "rollback" if talk.deed.abandon and talk.over else "commit"
            await self.end(talk, how)
            return f"{name}: {how}"
        if talk.call is None:
            talk.go(None)
        assert talk.call is not None
        await self.stand.send(talk.session, talk.call)
        if talk.session.waits:
            return f"{name}: {talk.call.statement.name} waits"
        return self._absorb(talk)

    def _absorb(self, talk: Talk) -> str:
        """Take what the statement has brought."""
        name, rows = self._named(talk), None
        try:
            rows = talk.session.take()
        except DatabaseError as error:
            if error.sqlstate == "40P01":
                raise Violation(f"{name}: a deadlock; locks are taken in ascending id") from error
            raise Violation(f"{name}: {error}") from error
        talk.open = not talk.deed.reads
        talk.go(rows)
        if talk.over and not talk.open:
            self.tell(talk, talk.result)
        return f"{name} -> {shown(rows)}"

    def _named(self, talk: Talk) -> str:
        assert talk.call is not None
        return f"{talk.deed.name}: {talk.call.statement.name}"

    async def end(self, talk: Talk, how: str) -> None:
        """Commit (and look at the tables) or roll back; whoever waits for the deed is told."""
        await self.stand.end(talk.session, how)
        talk.open = False
        if how == "commit" and talk.deed.judge is not None:
            if not talk.over:
                raise Violation(f"{talk.deed.name} writes with several statements that commit one by one")
            # What says that it did nothing isn't looked after; if it lies, the next look says so.
            if not talk.deed.did_nothing(talk.result):
                self.model.check(await self.stand.truth(), talk.deed.judge, talk.result)
                for worker in workers_of(
                    each for each in self.actors if each.name.startswith("claimer") and each.heard
                ):
                    check_passed(worker, self.model.truth)
        if talk.over:
            self.tell(talk, talk.result if how == "commit" else TransientError("rolled back by its caller"))

    def tell(self, talk: Talk, told: object) -> None:
        """The talk is over for whoever waits for it."""
        if talk.owner is not None:
            talk.owner.told, talk.owner.talk = told, None
            talk.owner = None

    async def _woken(self, step: int) -> None:
        """Take what statements have brought that had to wait."""
        for each in self._everybody():
            talk = each if isinstance(each, Talk) else each.talk
            if talk is not None and talk.session.sent is not None and not talk.session.waits:
                self.say(f"{each.name if isinstance(each, Actor) else 'a ghost'} goes on: {self._absorb(talk)}")

    async def _ghost(self, talk: Talk) -> str:
        """The next step of a talk nobody waits for. What commits by itself may still arrive, and commit, later; a
        transaction of several statements is rolled back by its server."""
        if talk.goes_on and not (talk.over or talk.deed.together):
            return f"a ghost's {await self._step(talk)}"
        self.ghosts.remove(talk)
        how = "commit" if talk.commits and not talk.deed.abandon else "rollback"
        if talk.open:
            await self.end(talk, how)
        self.stand.give_back(talk.session)
        return f"a ghost's {talk.deed.name}: {how}"

    async def _all_wait(self, step: int) -> None:
        """Nobody can go on. Whoever is frozen comes back; if nobody is, they wait for each other, as Postgres says."""
        frozen = [actor for actor in self.actors if actor.frozen_until > step]
        for actor in frozen:
            actor.frozen_until = 0
        if not frozen:
            await self.stand.deadlock()
            await self._woken(step)
            raise Violation("everybody waits for somebody")

    async def _jump(self, step: int) -> None:
        seconds = self.dice.choice(JUMPS)
        await self.stand.jump(seconds)
        self.say(f"time jumps by {seconds} s")

    # Bad luck

    async def _crash(self, actor: Actor, talk: Talk) -> str:
        """The actor's process is gone: a worker's with all its parts. What they had sent meets its fate."""
        process, said = self._process(actor), []
        worker = actor.worker.anew() if actor.worker else None
        for each in process:
            if each.talk is not None:
                said.append(f"{each.talk.deed.name} {await self._detach(each, each.talk)}")
            each.worker, each.told = worker, None
            each.script.close()
            each.script = self._script(each)
        return f"{actor.name} crashes: {', '.join(said)}"

    async def _lose(self, actor: Actor, talk: Talk) -> str:
        """The connection is lost: the actor doesn't know what became of its statement."""
        name = talk.deed.name
        return f"{actor.name} {name}: connection lost, {await self._detach(actor, talk, ConnectionLost('lost'))}"

    async def _detach(self, actor: Actor, talk: Talk, told: DatabaseError | None = None) -> str:
        """Take the talk from its owner, who is told this: it commits now, or is rolled back, or will do so later."""
        fate: Fate = self.dice.choice(("committed", "rolled back", "late"))
        self.tell(talk, told)
        if fate == "late" or talk.session.sent is not None:
            talk.goes_on = self.dice.random() < 0.6
            talk.frozen_until = self.step + self.dice.choice((0, 4, 8, 16))
            self.ghosts.append(talk)
            actor.session = await self.stand.session()
            return "late"
        if talk.open:
            fate = fate if talk.commits and not talk.deed.abandon else "rolled back"
            await self.end(talk, "commit" if fate == "committed" else "rollback")
        return fate

    async def _refuse(self, actor: Actor, talk: Talk) -> str:
        """The server refuses for now: rolled back, and the actor knows."""
        await self.stand.end(talk.session, "rollback")
        talk.open = False
        self.tell(talk, TransientError("refused", sqlstate="40001"))
        return f"{actor.name} {talk.deed.name}: refused for now"

    async def _give_up(self, actor: Actor, step: int) -> None:
        """It has waited for a lock for too long."""
        assert actor.talk is not None
        talk = actor.talk
        await self.stand.cancel(talk.session)
        talk.open = False
        self.tell(talk, LockTimeout("waited for too long", sqlstate="55P03"))
        self.say(f"{actor.name} {talk.deed.name}: gave up waiting")
        await self._woken(step)

    # The end

    async def _finish(self) -> None:
        """Everybody comes to the end of what it is about, without bad luck; then everything is worked off."""
        self.world.over = True
        rounds = 0
        while self.ghosts or not all(actor.over for actor in self.actors):
            rounds += 1
            if rounds > FINISH_ROUNDS_MAX:
                raise Violation(f"it doesn't end: {[actor.name for actor in self.actors if not actor.over]}")
            for each in self._everybody():
                if self._waits(each) or (isinstance(each, Actor) and each.over):
                    continue
                if (said := await self._step_of(each, lucky=True)) is not None:
                    self.say(said)
                    await self._woken(self.steps)
        for actor in self.actors:
            if actor.worker is not None and not actor.heard:
                actor.worker.hears_of_a_loss(actor.name)
        await wind_up(self.world, workers_of(self.actors), self.say)
        self.stand.cleared()

    def say(self, text: str) -> None:
        """Write down what has happened."""
        self.trace.append(f"{self.step:3} {self.stand.now:6.1f} s  {text}")
