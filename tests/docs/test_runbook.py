"""The runbook: its commands are run as they stand, in their order, on a system in trouble."""

from __future__ import annotations

import shlex

import pytest

from perdure.cli.program import run
from tests.conftest import Database
from tests.docs.pages import blocks
from tests.tidy.source import ROOT

RUNBOOK = ROOT / "docs" / "operate" / "runbook.md"
TROUBLE = """
insert into perdure.queue (name) values ('mail');
insert into perdure.job (id, pos, created_at, lane, task, key, payload)
    select n, n, now() - interval '1 hour', id * 4096 + 5, 'send_receipt', 'order:9182', '{"order_id": 9182}'
    from perdure.queue, generate_series(1, 5) as n where name = 'mail';
select setval('perdure.pos', 5);
insert into perdure.ready (lane, pos, id) select lane, pos, id from perdure.job where id = 1;
insert into perdure.dead (id, reason, error) values (2, 'exhausted', 'no paper'), (3, 'permanent', 'no such customer');
insert into perdure.worker (name, state, ended_at, expires_at, host, pid, slots, queues)
    values ('a', 'dead', now(), now(), 'localhost', 1, 10, '{mail}');
insert into perdure.lease (worker, jobs, generations) select id, '{4}', '{0}' from perdure.worker;
insert into perdure.waiting (id) values (5);
insert into perdure.run (job, id, name, version) values (5, 'checkout:9182', 'checkout', 1);
insert into perdure.chore (name, consecutive_failures, last_error, parked_until, due_at)
    values ('history.drop', 3, 'permission denied', now() + interval '1 hour', now() + interval '1 hour');
"""


def test_every_command_of_the_runbook_does_what_it_says(
    db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a database with a waiting job, jobs of a dead worker, dead ones, a run that waits for nothing and a parked
    chore, each command ends as it should, and those that write have had their effect [DW-167]. Red when a command, a
    report or an option goes."""
    monkeypatch.setenv("DATABASE_URL", db.url)
    conn = db.connect()
    conn.execute(TROUBLE)
    commands = [line for block in blocks(RUNBOOK, "sh") for line in block.text.splitlines()]
    codes = {}
    for line in dict.fromkeys(commands):
        code = run(shlex.split(line)[1:])
        codes[line] = (code, capsys.readouterr().err if code else "")

    assert len(codes) >= 25
    assert codes.pop("perdure doctor") == (2, "")
    assert {line: ended for line, ended in codes.items() if ended != (0, "")} == {}
    assert conn.execute("select id, place, outcome from perdure.jobs order by id").fetchall() == [
        (1, "ready", None), (2, "ready", None), (3, "history", "discarded"), (4, "leased", None),
        (5, "waiting", None),
    ]  # fmt: skip
    assert conn.execute("select id from perdure.nudge").fetchall() == [(5,)]
    assert conn.execute("select parked_until from perdure.chore").fetchall() == [(None,)]
