"""The simulator by hand.

``soak`` plays schedules of chance, on all cores; ``replay SEED --steps N`` plays one again; ``bugs`` looks for each of
the planted ones, from several seeds on.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Callable, Sequence

from tests import servers
from tests.sim.bugs import BUGS
from tests.sim.runs import NO_BUG, STEPS, play, version
from tests.sim.stand import SERVER
from tests.sim.troupe import BASES, SEEDS_MAX, Hunt, Theatre, hunts, shared, tally


def main(words: Sequence[str] | None = None) -> int:
    """The exit code: 1 when a schedule has failed; with ``bugs``, when one wasn't found."""
    said = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    said.add_argument("act", choices=sorted(ACTS))
    said.add_argument("seed", nargs="?", type=int, help="to play again, or to begin with")
    said.add_argument("--steps", type=int, default=STEPS, help="of chaos, when played again")
    said.add_argument("--seconds", type=float, default=60.0, help="how long to soak")
    said.add_argument("--seeds", type=int, default=SEEDS_MAX, help="how many to try for each bug")
    said.add_argument("--bug", choices=sorted(BUGS), default="", help="plant this one")
    said.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    said.add_argument("--pg", choices=servers.VERSIONS, default="18")
    asked = said.parse_args(words)
    return ACTS[asked.act](asked)


def _soak(asked: argparse.Namespace) -> int:
    first = random.randrange(1_000_000_000) if asked.seed is None else asked.seed
    caught = list(hunts(asked.pg, asked.processes, shared(asked.seconds, first, asked.processes, asked.bug)))
    failures = [catch.failure for catch in caught if catch.failure is not None]
    for failure in failures:
        print(failure)
    print(tally(caught))
    return 1 if failures else 0


def _replay(asked: argparse.Namespace) -> int:
    with servers.running(asked.pg, **SERVER) as server:
        theatre = Theatre(server.url)
        bug = BUGS[asked.bug] if asked.bug else NO_BUG
        failure = theatre.run(play(theatre.stand, asked.seed or 0, asked.steps, bug))
        theatre.close()
    print(failure or f"seed {asked.seed} holds")
    return 1 if failure is not None else 0


def _bugs(asked: argparse.Namespace) -> int:
    bases = BASES if asked.seed is None else (asked.seed,)
    names = [asked.bug] if asked.bug else list(BUGS)
    missed = 0
    searches = [Hunt(base, seeds=asked.seeds, bug=name) for name in names for base in bases]
    for catch in hunts(asked.pg, asked.processes, searches):
        found = f"seed {catch.failure.seed}" if catch.failure is not None else "NOT FOUND"
        print(f"{catch.hunt.bug}, from {catch.hunt.first}: {found} after {catch.played}", flush=True)
        missed += catch.failure is None
    print(f"simulator {version()}: {missed} not found")
    return 1 if missed else 0


ACTS: dict[str, Callable[[argparse.Namespace], int]] = {"soak": _soak, "replay": _replay, "bugs": _bugs}

if __name__ == "__main__":
    sys.exit(main())
