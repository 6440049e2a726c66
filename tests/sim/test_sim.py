"""Thousands of schedules: the product's ops on real sessions, in every order that a seed can think of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterator
from itertools import count
from typing import Any, TypeVar

import pytest
import uvloop

from perdure.pg.migrate import migrate
from tests.conftest import NewServer
from tests.sim.bugs import BUGS
from tests.sim.runs import STEPS, hunt, play, traced, version
from tests.sim.stand import SERVER, Stand

T = TypeVar("T")
SHORT_SECONDS = 12.0
QUICK = (
    "a settlement doesn't look at the generation",
    "a retry doesn't look at the generation",
    "a rescue doesn't look at the generation",
    "a rescue charges an attempt",
    "a retry forgets the scheduled row",
    "a claim doesn't hold its worker alive",
    "a worker is declared dead without the lock",
    "a settled job leaves no trace",
)
"""Bugs that CI looks for; the soak looks for all."""

SEEDS_MAX = 400


class Theatre:
    """A stand on a server of its own, and the loop it lives in."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.stand = self.run(Stand(url).open())

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        """Run it to its end."""
        return self._runner.run(act)

    def close(self) -> None:
        """Close the sessions and the loop."""
        self.run(self.stand.close())
        self._runner.close()


@pytest.fixture(scope="module")
def theatre(new_server: NewServer) -> Iterator[Theatre]:
    """A server on which nothing happens by itself, and the stand."""
    with new_server(**SERVER) as server:
        with server.connect() as conn:
            migrate(conn)
        theatre = Theatre(server.url)
        yield theatre
        theatre.close()


def _assert_holds(theatre: Theatre, first: int, seconds: float) -> None:
    played, failure = theatre.run(hunt(theatre.stand, count(first), seconds=seconds))
    print(f"{played} schedules, {played / seconds * 60:.0f} a minute")

    assert failure is None, str(failure)


def test_no_schedule_breaks_a_promise(theatre: Theatre) -> None:
    """Whatever the order of statements and commits, whoever crashes, freezes, loses its connection or gives up
    waiting: no job is lost, each stands in one place and moves by the lifecycle table, no end is settled twice, no
    generation is claimed twice, and in the end all is worked off [DW-158, DW-159, DW-180]. Red with each planted bug.
    """
    _assert_holds(theatre, 1, SHORT_SECONDS)


@pytest.mark.soak
def test_no_schedule_breaks_a_promise_for_long(theatre: Theatre) -> None:
    """The same for ten minutes, with schedules nobody has seen [DW-158, DW-159, DW-180]."""
    _assert_holds(theatre, random.randrange(1_000_000_000), 600.0)


def test_a_seed_plays_the_same_schedule_again(theatre: Theatre) -> None:
    """A seed decides everything: the same one gives the same trace, statement by statement, with what each brought. Red
    when the clock of the server, or the order of what is woken, gets into a schedule."""
    for seed in range(1, 9):
        first = theatre.run(traced(theatre.stand, seed))

        assert first == theatre.run(traced(theatre.stand, seed)), seed


def test_a_failure_says_how_to_see_it_again(theatre: Theatre) -> None:
    """What a schedule found is reported with its seed, the version of the simulator and the shortest prefix: played
    again it fails in the same way, one step shorter it doesn't. Red when a prefix isn't what was played."""
    bug = BUGS["a rescue charges an attempt"]
    _, failure = theatre.run(hunt(theatre.stand, count(1), bug=bug))
    assert failure is not None
    again = theatre.run(play(theatre.stand, failure.seed, failure.steps, bug))

    assert again is not None
    assert (again.violation, again.trace) == (failure.violation, failure.trace)
    assert failure.steps < STEPS
    assert theatre.run(play(theatre.stand, failure.seed, failure.steps - 1, bug)) is None
    assert f"replay {failure.seed} --steps {failure.steps}  # simulator {version()}" in str(failure)


def _assert_found(theatre: Theatre, name: str, seeds_max: int) -> None:
    bug = BUGS[name]
    played, failure = theatre.run(hunt(theatre.stand, range(bug.seed, bug.seed + seeds_max), bug=bug))
    print(f"{name}: found in schedule {played}")

    assert failure is not None, "the simulator doesn't notice that this guard is gone"


@pytest.mark.newest
@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(theatre: Theatre, name: str) -> None:
    """With one guard of the product taken out in memory, a schedule fails within a bounded number of seeds [DW-170]."""
    _assert_found(theatre, name, SEEDS_MAX)


@pytest.mark.soak
@pytest.mark.parametrize("name", BUGS)
def test_every_planted_bug_is_found(theatre: Theatre, name: str) -> None:
    """The same for every guard in the list, also those that only a rare schedule needs [DW-170]."""
    _assert_found(theatre, name, 20 * SEEDS_MAX)
