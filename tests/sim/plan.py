"""What a seed decides before the first step: how many take part, and how unlucky they are."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

JUMPS = (0.3, 1.1, 2.6, 4.0, 4.0, 70.0)
"""How far time may jump, in seconds: within a trust window, past it, past a worker's death, past a backoff."""


QUIET = 0.18
"""The part of the schedules in which nothing happens but enqueuers who are late, and one worker with its floor. What a
floor does wrong needs many steps in a row."""

FLOWING = 0.1
"""The part in which there are workflows and hardly anything else."""

LOSING = 0.17
"""The part in which connections are lost all the time, also those on which somebody is just recovering."""

DYING = 0.25
"""The part in which workers freeze all the time, others take them for dead, and they come back with what they had."""

FAILING_OVER = 0.2
"""The part in which the server fails, and one takes over that lacks the last commits."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed decides before the first step: how many there are of each kind, and how unlucky they are."""

    workers: int = 2
    enqueuers: int = 1
    housekeepers: int = 2
    people: int = 0
    callers: int = 0
    handlers: bool = False
    """Whether some handlers have a transaction of their own."""
    backlog: int = 5
    """How many jobs may stand in line until enqueuers pause: steps are for what happens to them."""
    stick: float = 0.0
    """How often whoever went last goes next."""
    crash: float = 0.0
    lose: float = 0.0
    refuse: float = 0.0
    """How often a step meets this bad luck."""
    give_up: float = 0.3
    jump: float = 0.08
    freeze: float = 0.0
    linger: float = 0.0
    """How often a transaction of these kinds stays open for long once it has written something."""
    lingering: tuple[str, ...] = ("enqueue", "signal", "claim")
    drain: float = 0.03
    fail_over: float = 0.0
    """How often a standby hears of nothing any more, or then takes over."""
    spite: float = 0.0
    """How often somebody goes next who has a job in hand that isn't its own any more."""

    @classmethod
    def draw(cls, dice: Random) -> Plan:
        """Some schedules know one kind of bad luck only, some all, some none."""
        kind = dice.random()
        if kind < QUIET:
            return cls(
                workers=1,
                enqueuers=3,
                housekeepers=0,
                backlog=2,
                stick=0.8,
                jump=0.02,
                linger=0.3,
                lingering=("enqueue",),
                drain=0.0,
            )
        if kind < QUIET + FLOWING:
            return cls(
                enqueuers=0,
                housekeepers=1,
                callers=2,
                linger=0.4,
                lingering=("signal", "settle"),
                stick=dice.choice((0.0, 0.5)),
                lose=dice.choice((0.0, 0.05)),
                freeze=dice.choice((0.0, 0.05)),
            )
        if kind < QUIET + FLOWING + LOSING:
            return cls(
                workers=dice.choice((1, 2)),
                housekeepers=1,
                stick=dice.choice((0.0, 0.5)),
                lose=dice.choice((0.2, 0.35)),
            )
        if kind < QUIET + FLOWING + LOSING + DYING:
            return cls(
                stick=dice.choice((0.0, 0.5, 0.8)),
                crash=dice.choice((0.0, 0.02)),
                lose=dice.choice((0.0, 0.05)),
                jump=dice.choice((0.04, 0.12)),
                people=dice.choice((0, 1)),
                freeze=0.16,
                linger=dice.choice((0.0, 0.2)),
                drain=dice.choice((0.03, 0.2)),
                spite=dice.choice((0.3, 0.6)),
            )
        if kind > 1.0 - FAILING_OVER:
            return cls(
                workers=dice.choice((1, 1, 2)),
                housekeepers=dice.choice((0, 1)),
                people=dice.choice((0, 0, 0, 1)),
                handlers=dice.random() < 0.4,
                stick=dice.choice((0.0, 0.5)),
                crash=dice.choice((0.0, 0.0, 0.02)),
                lose=dice.choice((0.0, 0.05)),
                jump=0.03,
                freeze=dice.choice((0.0, 0.0, 0.05)),
                drain=0.01,
                fail_over=dice.choice((0.08, 0.15)),
            )
        return cls._mixed(dice)

    @classmethod
    def _mixed(cls, dice: Random) -> Plan:
        return cls(
            workers=dice.choice((1, 2, 2, 3)),
            enqueuers=dice.choice((1, 1, 2)),
            housekeepers=dice.choice((1, 2)),
            people=dice.choice((0, 1, 1, 2)),
            callers=dice.choice((0, 0, 1)),
            stick=dice.choice((0.0, 0.5, 0.8)),
            crash=dice.choice((0.0, 0.02, 0.06)),
            lose=dice.choice((0.0, 0.05, 0.15)),
            refuse=dice.choice((0.0, 0.03)),
            give_up=dice.choice((0.05, 0.3)),
            jump=dice.choice((0.02, 0.06, 0.12)),
            freeze=dice.choice((0.0, 0.03, 0.06)),
            linger=dice.choice((0.0, 0.2)),
            drain=dice.choice((0.03, 0.03, 0.2)),
            spite=dice.choice((0.0, 0.2)),
        )
