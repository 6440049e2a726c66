"""The stage of a worker's test."""

from __future__ import annotations

import pytest

from tests.conftest import Database
from tests.rooms.worker.stage import Stage


@pytest.fixture
def stage(db: Database) -> Stage:
    """The test's database with what callers and operators do to it."""
    return Stage(db)
