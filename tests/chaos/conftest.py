"""The floor of a chaos test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.floor import Floor
from tests.conftest import Database


@pytest.fixture
def floor(db: Database, tmp_path: Path) -> Iterator[Floor]:
    """The test's database and its worker processes, none of which outlives the test."""
    floor = Floor(db, tmp_path)
    yield floor
    floor.close()
