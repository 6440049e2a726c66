"""Lists of jobs: newest first, filtered, a page at a time."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from perdure.jobs.ops.control import get, list_jobs
from perdure.jobs.ops.queues import ensure, list_queues
from perdure.jobs.view import Place
from tests.rooms.jobs.stage import Stage, end


@pytest.fixture
def one_everywhere(stage: Stage) -> dict[str, int]:
    """A job in each place, some of them in another queue or with a tag; their ids by place."""
    stage.main.run(ensure(["mail"]))
    worker = stage.worker()
    first = stage.enqueue(3, tags=("red", "blue"))
    jobs = stage.claim(worker)
    stage.settle([end(jobs[0], "completed"), end(jobs[1], "dead"), end(jobs[2], "held")], worker)
    [waits] = stage.enqueue()
    [asleep] = stage.claim(worker)
    stage.settle([end(asleep, "waiting")], worker)
    [leased] = stage.enqueue(tags=("blue",))
    stage.claim(worker)
    [ready] = stage.enqueue(queue="mail")
    [scheduled] = stage.enqueue(delay=60)
    places = ("history", "dead", "held", "waiting", "leased", "ready", "scheduled")
    return dict(zip(places, [*first, waits, leased, ready, scheduled], strict=True))


@pytest.mark.parametrize("place", ["history", "dead", "held", "waiting", "leased", "ready", "scheduled"])
def test_a_list_of_one_place_has_the_jobs_in_it(stage: Stage, one_everywhere: dict[str, int], place: str) -> None:
    """Each place lists its own job, as get shows it [DW-4]."""
    id = one_everywhere[place]

    assert stage.main.run(list_jobs(place=place, limit=10)) == [stage.main.run(get(id))]


def test_what_waits_is_listed_as_waiting_and_as_nothing_else(stage: Stage) -> None:
    """A workflow's job that waits stands in the list of what waits, not among what workers have in hand. Red without
    ``waiting`` in list.sql."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    stage.settle([end(job, "waiting")], worker)

    listed = {place: [job.id for job in stage.main.run(list_jobs(place=place, limit=10))] for place in get_args(Place)}

    assert {place: ids for place, ids in listed.items() if ids} == {"waiting": [id]}


@pytest.mark.parametrize(
    ("filters", "places"),
    [
        ({}, ["scheduled", "ready", "leased", "waiting", "held", "dead", "history"]),
        ({"queue": "mail"}, ["ready"]),
        ({"queue": "nowhere"}, []),
        ({"task": "work", "queue": "default"}, ["scheduled", "leased", "waiting", "held", "dead", "history"]),
        ({"task": "play"}, []),
        ({"tag": "blue"}, ["leased", "held", "dead", "history"]),
        ({"tag": "red", "place": "dead"}, ["dead"]),
        ({"tag": "green"}, []),
        ({"limit": 2}, ["scheduled", "ready"]),
    ],
    ids=str,
)
def test_filters_hold_together(
    stage: Stage, one_everywhere: dict[str, int], filters: dict[str, Any], places: list[str]
) -> None:
    """A list has the jobs that every filter means, newest first, and no more than its limit."""
    found = stage.main.run(list_jobs(**{"limit": 10, **filters}))

    assert [job.id for job in found] == [one_everywhere[place] for place in places]


def test_pages_join_without_gap_or_overlap(stage: Stage) -> None:
    """Reading on below the last id seen gives every job once, finished and living ones in one order."""
    worker = stage.worker()
    jobs = stage.enqueue(20)
    claimed = stage.claim(worker, 15)
    stage.settle([end(job) for job in claimed[::2]], worker)

    found: list[int] = []
    while page := stage.main.run(list_jobs(cursor=found[-1] if found else None, limit=3)):
        found += [job.id for job in page]

    assert found == jobs[::-1]


def test_a_queue_counts_each_job_in_the_place_it_stands_in(stage: Stage, one_everywhere: dict[str, int]) -> None:
    """A queue's depths count a job once: one that was retried or given up while the lease it came from still lives
    isn't leased too. Red when leases are counted without their generations."""
    worker = stage.worker()
    stage.enqueue(2, priority=0)
    retried, _ = stage.claim(worker)
    stage.settle([end(retried, "retry")], worker)
    depths = {
        queue.name: (queue.ready, queue.scheduled, queue.leased, queue.held, queue.waiting, queue.dead)
        for queue in stage.main.run(list_queues())
    }

    assert depths == {"default": (0, 2, 2, 1, 1, 1), "mail": (1, 0, 0, 0, 0, 0)}
    assert sum(map(sum, depths.values())) == stage.counts("job") == len(one_everywhere) + 1
