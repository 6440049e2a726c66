"""What the tests of the fleet's room ask for: a stage with sessions on a database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perdure.core import limits
from tests.conftest import Database
from tests.rooms.jobs.stage import Stage


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat lasts for longer than a busy machine stops a session; where one must run out, the test says so."""
    monkeypatch.setattr(limits, "DEAD_SECONDS", 60.0)


@pytest.fixture
def stage(db: Database) -> Iterator[Stage]:
    """Real sessions on a migrated database of the test's own."""
    made = Stage(db)
    yield made
    made.close()
