"""A tour of the state machine: every move there is, each act followed by the whole truth, as when acts come by chance.

By chance a rare move may not come in a whole run, or come in the next one: what a test shows mustn't depend on that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from perdure.jobs.work import Verdict

if TYPE_CHECKING:
    from tests.rooms.jobs.test_machine import Places

ENDS: tuple[Verdict, ...] = (
    "completed", "cancelled", "expired", "dead", "dead", "held", "held", "returned", "retry", "snooze", "deferred",
    "crashed", "waiting", "waiting",
)  # fmt: skip


def tour(machine: Places) -> None:
    """Make every move at least once."""
    for act in _acts(machine):
        act()
        machine.a_finished_job_stays_finished()
        machine.every_leased_job_is_somebody_s()
        machine.the_view_says_the_same()


def _acts(machine: Places) -> list[Callable[[], object]]:
    return [
        machine.a_worker_comes,
        lambda: machine.enqueues(3, 5, later=True),
        lambda: machine.enqueues(len(ENDS), 5, later=False),
        lambda: _work(machine, ENDS),
        lambda: machine.cancels("waiting", 0),
        lambda: machine.wakes(0, soon=True),
        lambda: machine.cancels("ready", 0),
        lambda: machine.cancels("scheduled", 0),
        lambda: machine.cancels("held", 0),
        lambda: machine.releases(known=True),
        lambda: machine.pauses_jobs(0),
        lambda: [machine.resumes_jobs(pick) for pick in (0, 1)],
        lambda: machine.runs_now("scheduled", 0),
        lambda: machine.decides_about_the_dead("dead", 0, again=True),
        lambda: machine.decides_about_the_dead("dead", 0, again=False),
        machine.time_passes,
        machine.a_full_queue_sheds,
        lambda: machine.a_full_queue_spills(2),
        lambda: machine.suspects_crash(0, last=True),
        lambda: _work(machine, ["completed"] * len(machine._in("ready"))),
        lambda: machine.enqueues_work_for_once(once=True),
        lambda: machine.enqueues(1, 5, later=False),
        lambda: machine.crashes(0, 2),
    ]


def _work(machine: Places, ends: Sequence[Verdict]) -> None:
    """The first worker claims as many jobs, and ends each of them so; who crashes doesn't do so for the last time."""
    known, machine.last = len(machine.hands), False
    machine.claims(0, len(ends))
    claimed = [job for _, job in machine.hands[known:]]
    machine._flush(list(zip(claimed, ends, strict=True)), machine.members[0])
    machine.last = None
