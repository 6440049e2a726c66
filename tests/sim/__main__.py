"""``python -m tests.sim soak --seconds 600`` plays schedules of chance; ``replay SEED --steps N`` plays one again."""

from __future__ import annotations

import argparse
import random
import sys
import time
from itertools import count

import uvloop

from perdure.pg.migrate import migrate
from tests import servers
from tests.sim.bugs import BUGS
from tests.sim.runs import NO_BUG, STEPS, hunt, play, version
from tests.sim.stand import SERVER, Stand


async def main() -> int:
    """The exit code: 1 when a schedule has failed."""
    said = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    said.add_argument("what", choices=["soak", "replay"])
    said.add_argument("seed", nargs="?", type=int)
    said.add_argument("--steps", type=int, default=STEPS)
    said.add_argument("--seconds", type=float, default=60.0)
    said.add_argument("--bug", choices=sorted(BUGS))
    said.add_argument("--pg", choices=servers.VERSIONS, default="18")
    asked = said.parse_args()
    bug = BUGS[asked.bug] if asked.bug else NO_BUG
    with servers.running(asked.pg, **SERVER) as server:
        with server.connect() as conn:
            migrate(conn)
        stand = await Stand(server.url).open()
        began = time.monotonic()
        if asked.what == "replay":
            played, failure = 1, await play(stand, asked.seed or 0, asked.steps, bug)
        else:
            first = random.randrange(1_000_000_000) if asked.seed is None else asked.seed
            played, failure = await hunt(stand, count(first), seconds=asked.seconds, bug=bug)
        took = time.monotonic() - began
        await stand.close()
    if failure is not None:
        print(failure)
    print(f"{played} schedules in {took:.1f} s, {played / took * 60:.0f} a minute; simulator {version()}")
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
