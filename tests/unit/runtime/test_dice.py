"""The real dice."""

from __future__ import annotations

import os

from perdure.runtime.dice import roll


def test_a_forked_child_rolls_its_own() -> None:
    """Two children that are forked at the same state of the dice roll neither alike nor as their parent does. Red when
    nothing seeds them anew: a fork server's children would all wait for the same spans."""
    rolls = {_forked() for _ in range(2)} | {str(roll()).encode()}

    assert len(rolls) == 3


def _forked() -> bytes:
    """What a child rolls."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, str(roll()).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as said:
        return said.read()
