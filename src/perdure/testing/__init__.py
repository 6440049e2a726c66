"""The kit for tests of your own workflows and tasks, on your test's own Postgres: nothing imitates the database.

``running`` works for an app in this process; ``skip`` lets time pass for runs that wait, so that a test of two weeks
takes a moment; ``replay`` runs a stored history over the code again, as a worker does after a crash.
"""

from __future__ import annotations

from .clock import skip
from .history import replay
from .runner import running

__all__ = ["replay", "running", "skip"]
