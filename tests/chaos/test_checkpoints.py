"""Checkpoints under kill -9: little is done again, nothing is skipped, and what was through is never begun anew."""

from __future__ import annotations

import pytest

from tests.chaos.floor import Floor
from tests.chaos.shop import walk

pytestmark = pytest.mark.newest

ITEMS = 100
EVERY = 5
REACHED = 87


def test_a_killed_walk_goes_on_at_its_last_checkpoint(floor: Floor) -> None:
    """Kill -9 when 87 of 100 items are done: the next worker does the rest, and again at most what was done since the
    last save [PAT-1, PAT-5]. Red without the lookup of the checkpoint, or when a save is answered before its commit."""
    (id,) = floor.enqueue(walk.job(ITEMS, EVERY, stop=REACHED))
    victim = floor.worker()
    floor.until_true("select count(*) >= %s from effect", REACHED)
    victim.kill()
    floor.relief()
    floor.until_finished([id])
    redone = floor.value("select count(*) from effect") - ITEMS
    print(f"killed after {REACHED} of {ITEMS} items; {redone} of them were done again")

    floor.assert_settled_once([id])
    assert floor.value("select count(distinct what) from effect") == ITEMS
    assert 0 <= redone <= EVERY
    assert floor.rows("select attempt from perdure.history") == [(1,)]
    assert floor.value("select count(*) from perdure.checkpoint") == 0


@pytest.mark.parametrize("fault", ["settle.before_flush", "settle.after_flush"])
def test_a_job_killed_around_its_completion_is_never_begun_anew(floor: Floor, fault: str) -> None:
    """Kill -9 right before and right after the transaction that completes the job: it either ends again from its last
    checkpoint, or has ended; no item is done twice [PAT-3]. Red when the checkpoint is cleared by a transaction before
    that one."""
    (id,) = floor.enqueue(walk.job(10, 1))
    victim = floor.worker(PERDURE_FAULT=f"{fault}:kill")
    assert victim.wait() == -9
    kept = floor.value("select count(*) from perdure.checkpoint")
    floor.relief()
    floor.until_finished([id])

    floor.assert_settled_once([id])
    assert kept == (1 if fault == "settle.before_flush" else 0)
    assert floor.rows("select what, count(*) from effect group by what having count(*) <> 1") == []
    assert floor.value("select count(*) from perdure.checkpoint") == 0
