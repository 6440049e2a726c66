"""The stage of a workflow's test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perdure import Client
from tests.conftest import Database
from tests.rooms.workflows.stage import Stage


@pytest.fixture
def stage(db: Database) -> Iterator[Stage]:
    """The test's database, a client for it, and what steps have done."""
    with Client(db.url) as client:
        yield Stage(db, client)
