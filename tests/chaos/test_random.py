"""Workers that die at random while jobs keep coming: in the end the ledger adds up."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.chaos.floor import Floor, Process
from tests.chaos.shop import sell, serve


def _storm(floor: Floor, seed: int, rounds: int) -> None:
    """Enqueue, kill, freeze, wake and replace workers, so many rounds; then let two good ones finish."""
    dice, ids, frozen = random.Random(seed), [], []
    alive: list[Process] = [floor.worker("--queues", "default:10") for _ in range(2)]
    began, killed = time.monotonic(), 0
    for _ in range(rounds):
        # Asked before there is more to do: it can't be more than there will be.
        wanted = floor.value("select count(*) from perdure.history") + dice.randrange(100)
        ids += floor.enqueue(*[sell.job() for _ in range(150)])
        ids += floor.enqueue(*[serve.job(0.05) for _ in range(50)])
        floor.until_true("select count(*) >= %s from perdure.history", wanted)
        victim = alive.pop(dice.randrange(len(alive)))
        match dice.choice(["kill", "kill", "kill", "freeze", "end sessions"]):
            case "kill":
                victim.kill()
                killed += 1
            case "freeze":
                victim.signal(signal.SIGSTOP)
                frozen.append(victim)
            case _:
                floor.value("select count(pg_terminate_backend(pid)) from pg_stat_activity "
                            "where application_name ~ '^perdure' and datname = current_database()")  # fmt: skip
                alive.append(victim)
        if frozen and dice.random() < 0.5:
            alive.append(frozen.pop())
            alive[-1].signal(signal.SIGCONT)
        if len(alive) < 2:
            alive.append(floor.worker("--queues", "default:10"))
    for process in frozen:
        process.signal(signal.SIGCONT)
    floor.until_finished(ids)
    rescued = floor.value("select count(*) from perdure.attempt where ending = 'rescued'")
    again = sum(count > 1 for count in floor.effects("sold").values())
    print(f"seed {seed}: {len(ids)} jobs, {killed} kills, {rescued} rescued, {again} effects twice, "
          f"{time.monotonic() - began:.1f} s")  # fmt: skip

    floor.assert_settled_once(ids)
    assert set(floor.effects("sold")) | set(floor.effects("ended")) == set(ids)
    # What ran twice had been taken from a worker that was lost: nothing else runs twice.
    assert again <= rescued
    assert floor.value("select max(attempt) from perdure.history") == 1


def test_workers_killed_at_random_lose_nothing(floor: Floor) -> None:
    """Workers are killed, frozen, woken and cut off at random under load: what was enqueued is what has completed, each
    settled once, no attempt charged, and nothing ran twice that hadn't been rescued [DW-3]. Red without rescue."""
    _storm(floor, seed=9182, rounds=9)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_workers_killed_at_random_lose_nothing_for_long(floor: Floor, seed: int) -> None:
    """The same for ninety rounds, five times over [DW-3]."""
    _storm(floor, seed=seed, rounds=90)
