"""Several stands at once, each in a process and on a server of its own: many schedules, played by all cores."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from typing import Any, TypeVar

import psycopg
import uvloop

from perdure.pg.migrate import migrate
from tests import servers
from tests.sim.bugs import BUGS
from tests.sim.runs import NO_BUG, Failure, hunt, version
from tests.sim.stand import SERVER, Stand

T = TypeVar("T")
LOG = logging.getLogger("perdure")

BASES = (1, 1_000_001, 2_000_001)
"""Where the search for a planted bug begins, each time anew."""

SEEDS_MAX = 300
"""Schedules in which it must be found."""

GARBAGE = 50_000
"""Objects made until the collector looks: a schedule makes many, and keeps few."""


class Theatre:
    """A stand on a server where nobody else is, and the loop it lives in."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            migrate(conn)
        gc.set_threshold(GARBAGE)
        self._level = LOG.level
        LOG.setLevel(logging.CRITICAL)  # what goes wrong here does so on purpose
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.stand = self.run(Stand(url).open())

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        """Run it to its end."""
        return self._runner.run(act)

    def close(self) -> None:
        """Close the sessions and the loop."""
        self.run(self.stand.close())
        self._runner.close()
        LOG.setLevel(self._level)


@dataclass(frozen=True, slots=True)
class Hunt:
    """Seeds from the first on, each so many after the one before; so many of them, or until the time is over."""

    first: int
    stride: int = 1
    seeds: int | None = None
    seconds: float | None = None
    bug: str = ""


@dataclass(frozen=True, slots=True)
class Catch:
    """How many schedules were played in a hunt, the one that failed, and how long it took."""

    hunt: Hunt
    played: int
    failure: Failure | None
    seconds: float


def hunts(pg: str, processes: int, asked: Iterable[Hunt]) -> Iterator[Catch]:
    """What each hunt has caught, as they come to their ends.

    A process and its server share a core: they take turns, and to wake somebody on another core takes five times as
    long as a small statement.
    """
    spawning = get_context("spawn")
    homes: SimpleQueue[tuple[str, int]] = spawning.SimpleQueue()
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as closing:
        for number in range(processes):
            server = closing.enter_context(servers.running(pg, **SERVER))
            core = cores[number % len(cores)]
            os.sched_setaffinity(server.pid, {core})
            homes.put((server.url, core))
        pool = ProcessPoolExecutor(processes, spawning, _open, (homes,))
        closing.callback(pool.shutdown, cancel_futures=True)
        for done in as_completed([pool.submit(_hunt, each) for each in asked]):
            yield done.result()


def shared(seconds: float, first: int, processes: int, bug: str = "") -> list[Hunt]:
    """One long hunt, for so many processes."""
    return [Hunt(first + number, processes, seconds=seconds, bug=bug) for number in range(processes)]


def tally(caught: Sequence[Catch]) -> str:
    """How many schedules were played, and how fast."""
    played, seconds = sum(catch.played for catch in caught), max(catch.seconds for catch in caught)
    return f"{played} schedules in {seconds:.0f} s, {played / seconds * 60:.0f} a minute; simulator {version()}"


_mine: list[Theatre] = []
"""The theatre of this process, if it is one of a troupe."""


def _open(homes: SimpleQueue[tuple[str, int]]) -> None:
    url, core = homes.get()
    os.sched_setaffinity(0, {core})
    _mine.append(Theatre(url))


def _hunt(asked: Hunt) -> Catch:
    theatre, began = _mine[0], time.monotonic()
    bug = BUGS[asked.bug] if asked.bug else NO_BUG
    seeds = islice(count(asked.first, asked.stride), asked.seeds)
    played, failure = theatre.run(hunt(theatre.stand, seeds, seconds=asked.seconds, bug=bug))
    return Catch(asked, played, failure, time.monotonic() - began)
