"""Clients for tests in which somebody waits for a lock that will be granted, or isn't to time out."""

from __future__ import annotations

from tests.conftest import Database


def patient(db: Database) -> str:
    """The database's URL. Its sessions wait for a lock for longer than anybody is held up, not for the five seconds of
    a client: what a test counts on mustn't turn into a lock time-out on a noisy machine."""
    return f"{db.url}&options=-c%20lock_timeout%3D60s"
