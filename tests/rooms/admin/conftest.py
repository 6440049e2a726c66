"""What the tests of the administration ask for: a stage with sessions on a database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.rooms.jobs.stage import Stage


@pytest.fixture
def stage(db: Database) -> Iterator[Stage]:
    """Real sessions on a migrated database of the test's own."""
    made = Stage(db)
    yield made
    made.close()


@pytest.fixture
def kernel(stage: Stage) -> Stage:
    """The same, where another stage has the name."""
    return stage
