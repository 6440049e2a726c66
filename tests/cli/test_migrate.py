"""``perdure migrate`` and ``perdure schema``."""

from __future__ import annotations

import json
import re

from perdure.pg.migrate import load
from tests.cli.terminal import answer, perdure
from tests.conftest import Database
from tests.pooler import Pooler

TITLES = [migration.title for migration in load()]


def _tables(db: Database, schema: str) -> int:
    row = db.connect().execute("select count(*) from pg_tables where schemaname = %s", [schema]).fetchone()
    assert row is not None
    return int(row[0])


def test_a_plan_shows_what_is_pending_and_writes_nothing(empty_db: Database) -> None:
    """``--plan`` lists the migrations; afterwards there is no table."""
    assert answer("migrate", "--plan", url=empty_db.url).splitlines() == ["pending", *TITLES]
    assert _tables(empty_db, "perdure") == 0


def test_migrate_says_what_it_applies_and_is_idempotent(empty_db: Database) -> None:
    """The first run applies everything, the second one nothing, and both end with 0."""
    first = json.loads(answer("migrate", "--json", url=empty_db.url))
    second = perdure("migrate", url=empty_db.url)

    assert first == {"schema": "perdure", "applied": TITLES}
    assert (second.returncode, second.stderr) == (0, "perdure: schema perdure is up to date\n")
    assert answer("migrate", "--plan", "--phase", "pre", url=empty_db.url) == "pending\n"


def test_a_schema_has_the_name_it_is_given(empty_db: Database) -> None:
    """``--schema`` puts the tables elsewhere, and other commands find them there."""
    answer("migrate", "--schema", "shop_jobs", url=empty_db.url)

    assert _tables(empty_db, "perdure") == 0
    assert _tables(empty_db, "shop_jobs") > 0
    assert json.loads(answer("status", "--schema", "shop_jobs", "--json", url=empty_db.url))["schema"] == "shop_jobs"


def test_the_schema_is_shown_without_a_database() -> None:
    """``perdure schema`` writes SQL with the chosen name in it, and asks nobody."""
    text = answer("schema", "--schema", "shop_jobs")

    assert "CREATE TABLE shop_jobs.job (" in text
    assert re.search(r"\bperdure\.\w", text.replace("perdure.sleepers", "")) is None
    assert json.loads(answer("schema", "--json"))["migrations"] == TITLES


def test_a_pooler_is_refused_and_a_direct_url_taken(empty_db: Database, pooler: Pooler) -> None:
    """Through a pooler in transaction mode `migrate` ends with 2 and names the variable to set; with that variable it
    migrates [KIT-20]. Red when the command doesn't look at PERDURE_DIRECT_URL."""
    url = pooler.url(empty_db.name)
    refused = perdure("migrate", url=url)
    assert (refused.returncode, "PERDURE_DIRECT_URL" in refused.stderr) == (2, True)
    assert _tables(empty_db, "perdure") == 0

    assert perdure("migrate", url=url, PERDURE_DIRECT_URL=empty_db.url).returncode == 0
    assert _tables(empty_db, "perdure") > 0
