"""What no statement may write, whoever sends it: the schema itself refuses."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import Database

WORKER = (
    "insert into perdure.worker (name, state, ended_at, expires_at, host, pid, slots, queues) "
    "values ('w', '{state}', {ended}, now(), 'h', 1, 1, '{{}}')"
)
JOB = (
    "insert into perdure.job (id, pos, created_at, lane, task, payload{also}) "
    "values (1, 1, now(), 4101, 'work', '{{}}'{values})"
)
HISTORY = (
    "insert into perdure.history "
    "(id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, payload) "
    "values (1, now(), now(), 4101, 0, 1, 0, '{outcome}', 'work', '{{}}')"
)
ILLEGAL = {
    "a dead worker that hasn't ended": WORKER.format(state="dead", ended="null"),
    "a living worker that has ended": WORKER.format(state="alive", ended="now()"),
    "a worker in a state that isn't one": WORKER.format(state="asleep", ended="null"),
    "a lease without jobs": "insert into perdure.lease (worker, jobs, generations) values (1, '{}', '{}')",
    "a lease with a job without a generation": (
        "insert into perdure.lease (worker, jobs, generations) values (1, '{1,2}', '{0}')"
    ),
    "a generation below nought": JOB.format(also=", generation", values=", -1"),
    "an attempt below nought": JOB.format(also=", attempt", values=", -1"),
    "a rescue below nought": JOB.format(also=", rescues", values=", -1"),
    "a held job without a reason": "insert into perdure.held (id, reason) values (1, '')",
    "a dead job without a reason": "insert into perdure.dead (id, reason) values (1, '')",
    "an end that isn't one": HISTORY.format(outcome="forgotten"),
    "a dead job in history": HISTORY.format(outcome="dead"),
    "an attempt that ended in no known way": (
        "insert into perdure.attempt (job, ended_at, generation, attempt, ending) values (1, now(), 0, 1, 'completed')"
    ),
    "a queue without a name": "insert into perdure.queue (name) values ('')",
}


@pytest.mark.parametrize("what", ILLEGAL)
def test_an_illegal_row_is_refused(db: Database, what: str) -> None:
    """A combination that the lifecycle doesn't know is refused by a CHECK, whoever writes it [DW-52]. Red without that
    CHECK in the migrations."""
    with pytest.raises(psycopg.errors.CheckViolation):
        db.connect().execute(ILLEGAL[what].encode())


@pytest.mark.parametrize(
    "twice",
    [
        "insert into perdure.ready (lane, pos, id) select 4101, 7, 1 from generate_series(1, 2)",
        "insert into perdure.held (id, reason) select 1, 'unknown_task' from generate_series(1, 2)",
        "insert into perdure.dead (id, reason) select 1, 'exhausted' from generate_series(1, 2)",
        "insert into perdure.scheduled (run_at, id) select now(), 1 from generate_series(1, 2)",
        "insert into perdure.cancel_request (id) select 1 from generate_series(1, 2)",
    ],
)
def test_a_job_stands_in_a_place_once(db: Database, twice: str) -> None:
    """The same job can't stand twice in one place [DW-52]. Red without the primary key of that place."""
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.connect().execute(twice.encode())


def test_positions_are_drawn_one_by_one(db: Database) -> None:
    """The one sequence has no cache, so that a later draw is a higher number whoever draws: the claim floor's guards
    rely on it. Red with a CACHE above 1."""
    [(cache, increment)] = db.connect().execute(
        "select cache_size, increment_by from pg_sequences where schemaname = 'perdure' and sequencename = 'pos'"
    )

    assert (cache, increment) == (1, 1)
