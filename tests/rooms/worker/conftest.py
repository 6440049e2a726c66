"""The stage of a worker's test."""

from __future__ import annotations

import pytest

from perdure.app import leaving
from perdure.app.registry import App
from perdure.core import limits
from tests.conftest import Database
from tests.rooms.worker.stage import BOUND_SECONDS, Stage


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker isn't taken for dead because a busy machine has stopped its process, or a session of its, for seconds:
    what it ran would run again in a child. A test of what follows such a stop has limits of its own.
    """
    monkeypatch.setattr(limits, "TRUST_SECONDS", 50.0)
    monkeypatch.setattr(limits, "DEAD_SECONDS", 60.0)


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers that a drain has stopped aren't given up, however long a busy machine takes over their last words."""
    monkeypatch.setattr(leaving, "STOP_GRACE_SECONDS", BOUND_SECONDS)


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
