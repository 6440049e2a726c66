"""What a benchmark found, as values: a figure never stands without its floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Literal, TypeAlias

from .ops import Server

At: TypeAlias = Literal["at least", "at most"]


@dataclass(frozen=True, slots=True)
class Target:
    """What to reach. ``of``: "floor" bounds the ratio to the floor, "value" the value itself. ``unless`` says what
    makes it reached all the same."""

    at: At
    bound: float
    of: Literal["floor", "value"] = "value"
    unless: str | None = None

    def met(self, value: float, ratio: float | None) -> bool:
        """Whether a figure reaches it. A ratio to a floor of nought reaches no bound."""
        found = value if self.of == "value" else ratio
        if found is None:
            return False
        return found >= self.bound if self.at == "at least" else found <= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure: ``ratio`` is value / floor (None where the floor is nought), ``floor_is`` says what the floor was.

    ``met`` is None without a target. ``samples``: what the value is the median, the highest or a share of.
    """

    name: str
    value: float
    unit: str
    floor: float
    floor_is: str
    ratio: float | None
    target: Target | None
    met: bool | None
    samples: tuple[float, ...] = ()


def figure(
    name: str,
    value: float,
    unit: str,
    *,
    floor: float,
    floor_is: str,
    target: Target | None = None,
    met_otherwise: bool = False,
    samples: Iterable[float] = (),
) -> Figure:
    """A figure with its ratio, judged. ``met_otherwise``: what the target's ``unless`` says is the case."""
    ratio = value / floor if floor else None
    return Figure(
        name=name,
        value=value,
        unit=unit,
        floor=floor,
        floor_is=floor_is,
        ratio=ratio,
        target=target,
        met=None if target is None else met_otherwise or target.met(value, ratio),
        samples=tuple(samples),
    )


@dataclass(frozen=True, slots=True)
class PlainRates:
    """The floor of this machine: plain rows of the same payload, in statements of ``batch`` rows, in rows a second.

    ``both`` is for rows that are inserted and deleted, the rate that a drain is compared with.
    """

    insert: float
    delete: float
    both: float
    batch: int
    payload_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A benchmark's answer. ``problems``: counts that didn't add up; then no figure can be believed."""

    benchmark: str
    jobs: int
    rounds: int
    server: Server
    cores: int
    python: str
    floor: PlainRates
    figures: Sequence[Figure]
    problems: Sequence[str] = field(default=())
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything that was enqueued was found again, once."""
        return not self.problems


def middle(samples: Sequence[float]) -> float:
    """The median."""
    return float(median(samples))


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least this many per cent of all don't exceed (the nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(ceil(len(ordered) * percent / 100), 1) - 1]
