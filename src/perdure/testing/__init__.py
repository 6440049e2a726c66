"""The kit for tests of your own workflows and tasks, on your test's own Postgres: nothing imitates the database.

``fresh`` makes a schema that is the test's alone. ``work_off`` works for an app in this process until nothing is left
to do, ``running`` for as long as a block lasts. ``skip`` lets time pass for what waits or is due later, so that a test
of two weeks takes a moment; ``replay`` runs a stored history over the code again, as a worker does after a crash.
"""

from __future__ import annotations

from .clock import skip
from .drainer import work_off
from .history import replay
from .places import fresh
from .runner import running

__all__ = ["fresh", "replay", "running", "skip", "work_off"]
