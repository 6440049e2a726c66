"""The worker: the composition root. It is the only file that knows every loop, and it decides nothing they could.

A worker is one process: an event loop with four connections (claims, settlements, chores, listener; one more when
something is kept) and the heart, a thread with its own. It works until ``stop`` is asked for, then drains: claims no
more, gives back what hasn't started, lets what runs finish until the deadline, settles, and signs off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from ..core import limits
from ..core.telemetry import Sample
from ..fleet.loops.heart import Heart
from ..fleet.model import Beat
from ..fleet.ops import workers
from ..jobs import rules as job_rules
from ..jobs.loops import cleaner, stopper
from ..jobs.loops.chores import Chores
from ..jobs.loops.claimer import Claimer, Identity
from ..jobs.loops.finder import Finder
from ..jobs.loops.intake import Intake
from ..jobs.loops.isolator import Isolator
from ..jobs.loops.minder import Minder
from ..jobs.loops.pacer import Pacer
from ..jobs.loops.recoverer import Recoverer
from ..jobs.loops.runner import Runner
from ..jobs.loops.sampler import Sampler
from ..jobs.loops.settler import Settler
from ..jobs.work import Lease
from ..machines.ops.declare import declare as declare_machines
from ..pg.listen import Listener
from ..runtime import forkserver
from ..runtime.clock import monotonic
from ..runtime.dice import jittered
from ..runtime.patience import patiently
from .books import WorkerBooks
from .context import Context, in_child
from .flows import Drivers, address, errands
from .handlers import handler
from .leaving import Drain, within
from .meter import Meter
from .premises import Premises, check_retention, tell_unnamed, warn_of_crowds
from .registry import App
from .wires import Wires, count_connections

log = logging.getLogger("perdure.worker")

SLOTS_DEFAULT = 50


class Worker:
    """Runs an app's jobs in this process.

    ``url``: of the database. ``queues``: slots by queue name; None means every queue the app's tasks name, with
    SLOTS_DEFAULT each. ``drain_seconds``: how long running jobs may go on after ``stop``. ``history_days``: how long
    finished jobs are kept. ``direct_url``: of the server itself, when ``url`` leads to a pooler in transaction mode;
    without it, or without ``listen``, the worker only polls. ``housekeeping``: whether it does what no job waits for.
    """

    def __init__(
        self,
        app: App,
        url: str,
        *,
        queues: Mapping[str, int] | None = None,
        schema: str = "perdure",
        name: str | None = None,
        drain_seconds: float = limits.DRAIN_SECONDS,
        history_days: int = limits.HISTORY_DAYS,
        direct_url: str | None = None,
        listen: bool = True,
        housekeeping: bool = True,
    ) -> None:
        named = {*(t.queue for t in app.tasks.values()), *(f.queue for f in app.workflows.values())} or {"default"}
        self._named = named
        self._queues = dict(queues) if queues is not None else dict.fromkeys(sorted(named), SLOTS_DEFAULT)
        self._cleaner = cleaner.found()
        self._handlers = {task.name: handler(task, self._cleaner) for task in app.tasks.values()}
        check_retention(app, history_days)
        self._app, self._flows = app, list(app.workflows.values())
        self._url, self._schema = url, schema
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._wires = Wires(url, schema, self._name, direct_url, listen)
        self._drain_seconds, self._history_days, self._housekeeping = drain_seconds, history_days, housekeeping
        self._me = Identity()
        self._stop, self._now = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None
        self._begins_anew = False
        self._runners: list[Runner] = []
        self.started = asyncio.Event()
        """Set when the worker is registered and claims."""

    @property
    def id(self) -> int:
        """The worker's row; it changes when the worker was declared dead and begins anew."""
        return self._me.worker

    def stop(self) -> None:
        """Drain and leave. A second call ends what runs at once. Call it on the loop's thread."""
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    async def run(self) -> bool:
        """Work until stopped. True when everything ended by itself; False when running jobs had to be stopped or
        abandoned.

        Raises a ConfigError when the database refuses or its schema doesn't fit this code, and the error of a loop
        that broke. Raises Unsupported in a child process of a worker, which imports the program that started it.
        """
        forkserver.refuse_within_main("Worker.run")
        self._loop = asyncio.get_running_loop()
        if not await self._unless_stopped(patiently(lambda: asyncio.to_thread(self._wires.find))):
            return True
        self._make_parts()
        try:
            if not await self._unless_stopped(self._begin()):
                return True
            self._spawn(
                self._settler.run(), self._pacer.run(), self._chores.run(), self._sampler.run(), self._sweep_deadlines()
            )
            if self._wires.listens:
                self._spawn(self._listener.run())
            self._spawn(self._books.keeper.run(), self._books.reporter.run(), self._drivers.run(), self._finder.run())
            self._claiming = self._spawn(self._claimer.run())
            for runner in self._runners:
                runner.start(self._loop_ended)
            self.started.set()
            await self._stop.wait()
            return await self._drain.run(self._drain_seconds, self._claiming)
        finally:
            await self._end()
            if self._failure is not None:
                raise self._failure

    def gauges(self) -> dict[str, Any]:
        """How busy it is: see Meter."""
        return self._meter.gauges()

    @property
    def settled(self) -> Mapping[str, int]:
        """How many jobs it has settled, by verdict: what may be asked often."""
        return self._settler.counts

    def samples(self) -> list[Sample]:
        """What it has counted, as metrics; nothing before it has started. Any thread may ask."""
        return self._meter.samples() if self.started.is_set() else []

    def _make_parts(self) -> None:
        self._links = self._wires.links(workflows=bool(self._flows))
        self._books = WorkerBooks(self._links["keep"], self._handlers.values())
        self._premises = Premises(self._app, self._queues, self._url, self._schema, self._books)
        self._leases: dict[int, Lease] = {}
        context = partial(in_child, self._url, self._schema, self._books.versions)
        beside, first = map(address, self._flows), self._app.found_in
        self._minder = Minder(self._handlers.values(), context, beside, first=first, cleaner=self._cleaner)
        self._drivers = Drivers(self._flows, self._links, self._minder, self._stop.is_set, self._queues)
        self._handlers.update(self._drivers.handlers)
        threaded = sum(each.run_in == "thread" for each in self._handlers.values()) and len(self._queues)
        self._pacer = Pacer(self._links["chores"], lambda: self._me.worker, threaded)
        self._settler = Settler(
            self._links["settle"], lambda: self._me.worker, self._leases, lambda: self._claimer.stir(), self._pacer
        )
        self._heart = Heart(
            self._wires.straight,
            self._schema,
            on_beat=self._hand_over,
            gauges=lambda: json.dumps(self.gauges()),
            leases=lambda: list(self._leases),
            pooled=not self._wires.sessions,
            who=self._name,
        )
        self._listener = Listener(
            self._wires.straight,
            self._schema,
            on_notify=self._notified,
            on_connect=lambda: self._claimer.sign(),
            jittered=jittered,
            who=self._name,
        )
        self._chores = Chores(
            self._links["chores"],
            lambda: self._me.worker,
            job_rules.known(self._handlers.values()),
            history_days=self._history_days,
            on_moved=lambda: self._claimer.notified(""),
            errands=errands(self._history_days),
            periodic=self._housekeeping,
        )

    async def _unless_stopped(self, beginning: Coroutine[Any, Any, None]) -> bool:
        """Whether it came to its end; told to stop, a worker that still waits for the server just leaves."""
        begun, stopped = self._loop.create_task(beginning), self._loop.create_task(self._stop.wait())
        await asyncio.wait((begun, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not begun.done():
            begun.cancel()
            await asyncio.wait((begun,))
            return False
        begun.result()
        return True

    async def _begin(self) -> None:
        """Find the queues, register, start the heart. Waits for a server that doesn't answer."""
        chores = self._links["chores"]
        names, declare = [*self._queues, *self._app.queues], partial(self._premises.declare, chores)
        self._finder = Finder(chores, names, declare, lambda name, id: self._claimer.opened(name, id))
        ids = await patiently(self._finder.begin)
        if self._app.machines:
            await patiently(lambda: chores.transaction(declare_machines(list(self._app.machines.values()))))
        self._intakes = [Intake(ids.get(name, 0), name, self._runner(name)) for name in self._queues]
        self._isolator = Isolator(
            self._handlers,
            self._minder,
            self._books.keeper,
            self._settler.end,
            lambda: self._heart.trusted_until,
            lambda job: Context(job, next(iter(self._premises.desks.values()))),
        )
        self._runners = [*(intake.runner for intake in self._intakes), self._isolator]
        self._sampler = Sampler(
            chores, self._intakes, on_moved=lambda: self._claimer.notified(""), on_rule=self._premises.told
        )
        self._claimer = Claimer(
            self._links["claim"],
            self._me,
            self._intakes,
            job_rules.known(self._handlers.values()),
            self._leases,
            self._chores.due,
            self._chores.alarm,
            tell=self._listener.tell,
            may_claim=lambda: monotonic() < self._heart.trusted_until and self._settler.waiting < Settler.PENDING_MAX,
            on_look=self._chores.look,
            on_suspects=self._isolator.offer,
            on_unknown=lambda: recoverer.recover(),
        )
        self._drain = Drain(self._me, self._runners, self._claimer, self._settler, self._links["chores"], self._now)
        self._meter = Meter(
            self._intakes, self._isolator, self._claimer, self._settler, self._heart, self._chores, self._sampler
        )
        for name in ("claim", "settle", "chores"):
            # Before the first handler starts: those may take every connection the server has left.
            await patiently(self._links[name].connection)
        recoverer = Recoverer(self._links["claim"], self._me, self._settler, self._runners, self._leases)
        await self._register()
        warn_of_crowds(self._app, self._queues)
        await count_connections(self._links["chores"])

    def _runner(self, queue: str) -> Runner:
        """The slots of a queue, with its connections for handlers and whoever stands at its door."""
        desk, door = self._premises.desks[queue], self._premises.doors[queue]
        runner = Runner(
            self._handlers,
            self._queues[queue],
            settle=door.counting(self._settler.end),
            trusted_until=lambda: 0.0 if self._pacer.full else self._heart.trusted_until,
            pause=self._pacer.pause,
            on_room=lambda: self._claimer.stir(),
            context=lambda job: Context(job, desk),
            minder=self._minder,
            keeper=self._books.keeper,
        )
        return self._premises.guard(queue, runner)

    async def _register(self) -> None:
        sent, chores = monotonic(), self._links["chores"]
        row = partial(workers.register, name=self._name, host=socket.gethostname(), pid=os.getpid())
        row = partial(row, slots=sum(self._queues.values()), workflows=list(self._app.workflows))
        async with self._pacer.writing:
            row = partial(row, queues=list(self._queues), unsettled=self._pacer.promised)
            self._me.worker, self._me.incarnation = await patiently(lambda: chores.run(row()))
        self._heart.start(self._me.worker, sent)
        log.info("worker %d (%s) works on %s", self._me.worker, self._name, dict(self._queues))
        tell_unnamed(self._app, self._named, self._queues)

    def _spawn(self, *loops: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run them until the worker ends; the task of the last one."""
        for each in loops:
            task = self._loop.create_task(each)
            task.add_done_callback(self._loop_ended)
            self._tasks.append(task)
        return self._tasks[-1]

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        """A loop that broke takes the worker with it: half a worker would hold jobs that nobody settles."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a loop of the worker broke", exc_info=error)
            self._failure = self._failure or error
            self._now.set()
            self._stop.set()

    async def _sweep_deadlines(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            for runner in self._runners:
                runner.sweep_deadlines()

    def _notified(self, payload: str) -> None:
        self._claimer.notified("" if payload == "cancel" else payload)

    def _hand_over(self, worker: int, beat: Beat | None) -> None:
        """On the heart's thread: the beat belongs to the loop."""
        self._loop.call_soon_threadsafe(self._beaten, worker, beat)

    def _beaten(self, worker: int, beat: Beat | None) -> None:
        """On the loop: what the heart's last beat brought."""
        if worker != self._me.worker:
            return  # it was on its way while this worker began anew
        if beat is None:
            if not self._stop.is_set() and not self._begins_anew:
                self._begins_anew = True
                self._spawn(self._begin_anew())
            return
        self._chores.expired(beat.expired)
        stopper.stop(self._runners, beat.cancels, beat.pauses, self._settler.end)
        self._claimer.beaten(beat.living, beat.taken)

    async def _begin_anew(self) -> None:
        """Others have declared this worker dead: its jobs are theirs. Drop them, and begin as a new worker."""
        log.error("worker %d was declared dead by another; its jobs run elsewhere, and it begins anew", self._me.worker)
        for runner in self._runners:
            runner.take_back()
            runner.stop_jobs("lost")
        for intake in self._intakes:
            intake.floor.reset()
            intake.wet = True
        self._settler.lose_all()
        await self._register()
        self._begins_anew = False
        self._claimer.stir()

    async def _end(self) -> None:
        """Sign off and close everything; whatever is still held is open to rescue at once."""
        for runner in self._runners:
            runner.shut()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        for runner in self._runners:
            await runner.close()
        self._drivers.close()
        await self._minder.close()
        await self._premises.close()
        self._heart.stop()
        if self._me.worker:
            cause = None if self._failure is None else f"a loop broke: {self._failure!r}"[: limits.REASON_CHARS_MAX]
            await within(5.0, self._links["chores"].run(workers.leave(self._me.worker, cause)), self._now)
            log.info("worker %d (%s) ends", self._me.worker, self._name)
        await self._listener.close()
        for link in self._links.values():
            await link.close()
