"""The questions that docs/guides/jobs.md answers in plain SQL, asked by a role that may only read."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import Database
from tests.docs.pages import blocks
from tests.tidy.source import ROOT

GUIDE = ROOT / "docs" / "guides" / "jobs.md"
SETUP = [block.text for block in blocks(GUIDE, "sql") if block.mark == "setup"]
QUESTIONS = [block for block in blocks(GUIDE, "sql") if not block.mark]

A_JOB_IN_EACH_PLACE = """
insert into perdure.queue (name) values ('mail');
insert into perdure.job (id, pos, created_at, run_at, lane, task, key, payload)
    select n, n, now(), now() + interval '1 hour', id * 4096 + 5, 'send_receipt', 'order:9182', '{"order_id": 9182}'
    from perdure.queue, generate_series(1, 4) as n where name = 'mail';
insert into perdure.ready (lane, pos, id) select lane, pos, id from perdure.job where id = 1;
insert into perdure.scheduled (run_at, id) select run_at, id from perdure.job where id = 2;
insert into perdure.dead (id, reason, error) values (3, 'exhausted', 'the mail server said no');
insert into perdure.worker (name, expires_at, host, pid, slots, queues)
    values ('a', now(), 'localhost', 1, 10, '{mail}');
insert into perdure.lease (worker, jobs, generations) select id, '{4}', '{0}' from perdure.worker;
insert into perdure.history (id, created_at, started_at, finished_at, lane, generation, attempt, rescues, outcome, task,
                             key, payload)
    select 5, now(), now(), now(), lane, 0, 1, 0, 'completed', task, key, payload from perdure.job where id = 1;
"""


@pytest.fixture
def reader(db: Database) -> psycopg.Connection:
    """A session of the guide's read-only role, on a database with a job in each place.

    Roles belong to the whole server, so everything happens in a transaction that is never committed.
    """
    conn = db.connect()
    conn.execute("begin")
    conn.execute(A_JOB_IN_EACH_PLACE)
    for text in SETUP:
        conn.execute(text.encode())
    conn.execute("set local role perdure_reader")
    return conn


def test_the_documented_questions_are_answered_to_a_role_that_only_reads(reader: psycopg.Connection) -> None:
    """Every question about the backlog has an answer in plain SQL for a role without any right to write [DW-29].

    Red without the GRANTs of the guide, or when a column it names goes from the view ``perdure.jobs``.
    """
    answers = {str(block): reader.execute(block.text.encode()).fetchall() for block in QUESTIONS}

    assert len(answers) >= 9
    assert {block for block, rows in answers.items() if not rows} == set()


def test_a_job_in_each_place_is_counted_in_it(reader: psycopg.Connection) -> None:
    """The first question counts the live jobs of a queue by their place [DW-29]."""
    assert reader.execute(QUESTIONS[0].text.encode()).fetchall() == [
        ("mail", "dead", 1),
        ("mail", "leased", 1),
        ("mail", "ready", 1),
        ("mail", "scheduled", 1),
    ]


def test_the_reading_role_can_not_write(reader: psycopg.Connection) -> None:
    """The role of the guide is refused when it writes [DW-29]."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("delete from perdure.ready")
