"""A client that was used before a fork: each process has connections of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import Database
from tests.rooms.client import forking


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_a_client_that_was_used_before_a_fork_works_in_each_process(db: Database, kind: str) -> None:
    """Two children that were forked after the client was used have their own sessions of the server, and what each
    is told is written; the parent goes on in its own, which no child has used or closed. Red without the look at forks:
    they talk into each other's conversations."""
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", forking.__name__, kind, db.url]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=2 * forking.SECONDS_MAX)
    assert (ran.returncode, ran.stderr) == (0, "")
    before, one, other, after = json.loads(ran.stdout)

    told = [id for each in (before, one, other, after) for id in each["ids"]]
    rows = db.connect().execute("select id from perdure.jobs order by id").fetchall()
    assert [id for (id,) in rows] == sorted(told)
    ours, first, second = (set(each["pids"]) for each in (before, one, other))
    assert set(after["pids"]) <= ours
    assert not ours & first | ours & second | first & second
