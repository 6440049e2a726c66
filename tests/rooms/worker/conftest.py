"""The stage of a worker's test."""

from __future__ import annotations

import pytest

from perdure.app.registry import App
from tests.conftest import Database
from tests.rooms.worker.stage import Stage


@pytest.fixture
def stage(db: Database) -> Stage:
    """The test's database with what callers and operators do to it."""
    return Stage(db)


@pytest.fixture
def app() -> App:
    """An app with one task, which answers."""
    app = App("a")

    @app.task
    async def work() -> str:
        return "done"

    return app
