"""What a seed decides before the first step: how many take part, and how unlucky they are."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

JUMPS = (0.3, 1.1, 2.6, 4.0, 4.0, 70.0)
"""How far time may jump, in seconds: within a trust window, past it, past a worker's death, past a backoff."""


QUIET = 0.15
"""The part of the schedules in which nothing happens but enqueuers who are late, and one worker with its floor. What a
floor does wrong needs many steps in a row, and shows nowhere else but with luck."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed decides before the first step: how many there are of each kind, and how unlucky they are."""

    workers: int
    enqueuers: int
    housekeepers: int
    people: int
    stick: float
    crash: float
    lose: float
    refuse: float
    give_up: float
    jump: float
    freeze: float

    @classmethod
    def draw(cls, dice: Random) -> Plan:
        """Some schedules know one kind of bad luck only, some all, some none."""
        if dice.random() < QUIET:
            return cls(1, 3, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.1, 0.0)
        crash, lose, refuse = (dice.choice(each) for each in ((0.0, 0.02, 0.06), (0.0, 0.05, 0.15), (0.0, 0.03)))
        return cls(
            dice.choice((1, 2, 2, 3)),
            dice.choice((1, 1, 2)),
            dice.choice((1, 2)),
            dice.choice((0, 1, 1, 2)),
            dice.choice((0.0, 0.5, 0.8)),
            crash,
            lose,
            refuse,
            dice.choice((0.05, 0.3)),
            dice.choice((0.02, 0.06, 0.12)),
            dice.choice((0.0, 0.03, 0.06)),
        )
