"""``perdure chores`` and what ``perdure status`` says of housekeeping."""

from __future__ import annotations

import json

from tests.cli.terminal import answer, perdure, refusal
from tests.conftest import Database

FAILED = """insert into perdure.chore (name, consecutive_failures, last_error, last_failure_at, parked_until, due_at)
values ('history.drop', 3, 'no luck', now(), now() + interval '1 h', now() + interval '1 h')"""
DEAD = """insert into perdure.worker (name, state, ended_at, expires_at, host, pid, slots, queues)
select 'w' || n, 'dead', now(), now(), 'h', n, 1, '{default}' from generate_series(1, 3) n"""


def test_a_parked_chore_is_shown_and_unparked(db: Database) -> None:
    """The list and the status name a parked chore with its last error, its last success and its failures in a row;
    ``unpark`` makes it due; an unknown name is refused with those there are [OPS-74]."""
    conn = db.connect()
    conn.execute(FAILED)
    [listed] = json.loads(answer("chores", "--json", url=db.url))["chores"]
    [stated] = json.loads(answer("status", "--json", url=db.url))["chores"]
    shown = answer("status", url=db.url)
    answer("chores", "unpark", "history.drop", url=db.url)
    after = conn.execute("select consecutive_failures, due_at, parked_until from perdure.chore").fetchall()

    assert listed == stated
    assert (listed["last_error"], listed["last_success_at"], listed["consecutive_failures"]) == ("no luck", None, 3)
    assert "history.drop parked: no luck" in shown
    assert after == [(0, None, None)]
    assert "there is history.drop" in refusal(perdure("chores", "unpark", "nothing", url=db.url))


def test_safe_mode_has_a_banner_and_an_end(db: Database) -> None:
    """While a crash loop lasts, the status says so before anything else; ``resume`` ends it [OPS-76]."""
    db.connect().execute(DEAD)
    during, shown = json.loads(answer("status", "--json", url=db.url)), perdure("status", url=db.url).stderr
    answer("chores", "resume", url=db.url)
    after = json.loads(answer("chores", "--json", url=db.url))

    assert during["safe_mode"]
    assert "SAFE MODE: 3 workers ended uncleanly lately (w3: it fell silent; w2" in shown
    assert (after["safe_mode"], after["chores"]) == (False, [])
