"""Thousands of schedules: the product's ops on real sessions, in every order that a seed can think of."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

import pytest

from tests.conftest import NewServer
from tests.sim.bugs import BUGS
from tests.sim.runs import STEPS, hunt, play, traced, version
from tests.sim.stand import SERVER
from tests.sim.troupe import BASES, SEEDS_MAX, Theatre, hunts, shared, tally

SHORT_SECONDS = 12.0
LONG_SECONDS = 600.0
PROCESSES = 2
QUICK = {
    "a settlement doesn't look at the generation": 5,
    "a retry doesn't look at the generation": 1_000_077,
    "a rescue doesn't look at the generation": 3,
    "a rescue charges an attempt": 2,
    "a retry forgets the scheduled row": 1,
    "a claim doesn't hold its worker alive": 10,
    "a worker is declared dead without the lock": 6,
    "a settled job leaves no trace": 101,
    "after a take-over only the leases in the flush are asked for": 56,
    "a lease is dropped whatever the server has in it": 103,
    "a handler's transaction doesn't ask for the lease": 194,
}
"""Bugs that CI looks for, each from a seed on where it soon is found; the soak looks for all, from anywhere."""


@pytest.fixture(scope="module")
def theatre(new_server: NewServer) -> Iterator[Theatre]:
    """A server on which nothing happens by itself, and the stand."""
    with new_server(**SERVER) as server:
        theatre = Theatre(server.url)
        yield theatre
        theatre.close()


def test_no_schedule_breaks_a_promise(theatre: Theatre) -> None:
    """Whatever the order of statements and commits, whoever crashes, freezes, loses its connection or gives up
    waiting, and whatever a server lacks that takes over: no job is lost that it has, each stands in one place and moves
    by the lifecycle table, no end is settled twice, no generation is claimed twice, and in the end all is worked off
    [DW-158, DW-159, DW-180]. Red with each planted bug.
    """
    played, failure = theatre.run(hunt(theatre.stand, count(1), seconds=SHORT_SECONDS))
    print(f"{played} schedules, {played / SHORT_SECONDS * 60:.0f} a minute")

    assert failure is None, str(failure)


@pytest.mark.soak
def test_no_schedule_breaks_a_promise_for_long(request: pytest.FixtureRequest) -> None:
    """The same for ten minutes, with schedules nobody has seen, on two servers at once [DW-158, DW-159, DW-180]."""
    asked = shared(LONG_SECONDS, random.randrange(1_000_000_000), PROCESSES)
    caught = list(hunts(request.config.getoption("--pg"), PROCESSES, asked))
    print(tally(caught))

    assert [str(catch.failure) for catch in caught if catch.failure is not None] == []


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


def _assert_found(theatre: Theatre, name: str, first: int) -> None:
    played, failure = theatre.run(hunt(theatre.stand, range(first, first + SEEDS_MAX), bug=BUGS[name]))
    print(f"{name}: found in schedule {played} from {first} on")

    assert failure is not None, "the simulator doesn't notice that this guard is gone"


@pytest.mark.newest
@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(theatre: Theatre, name: str) -> None:
    """With one guard of the product taken out in memory, a schedule fails within a bounded number of seeds [DW-170]."""
    _assert_found(theatre, name, QUICK[name])


@pytest.mark.soak
@pytest.mark.parametrize("first", BASES)
@pytest.mark.parametrize("name", BUGS)
def test_every_planted_bug_is_found(theatre: Theatre, name: str, first: int) -> None:
    """The same for every guard in the list, also those that only a rare schedule needs, and wherever the search begins
    [DW-170]."""
    _assert_found(theatre, name, first)
