"""The claim floor: where a claim may start, so that the dead rows of a held snapshot are never walked again. Pure.

Below the floor only *stragglers* can show up: rows of late commits, and rows of a claim or cancel that was rolled back
after others had skipped them. Whoever can be the owner of one holds RowExclusiveLock on ``ready`` to its end, and
``jobs.writers`` lists the holders. So the floor is kept as a row of guarded steps:

1. F, the highest position claimed so far, and S, the holders listed by a statement after that claim, are a candidate.
2. At least a lag later the holders are listed again: H.
3. A still later statement probes: is any row visible in (floor, F]? If none is, the floor is F, and the step from the
   old floor to it is guarded by S & H. If one is, the candidate is dropped; claims go on from the old floor.

Why it is exact. A row at or below F that isn't visible to the probe either was claimed for good, or belongs to a
transaction that is still open. That one took its lock after S only if it drew a position above F (one sequence, and F
was drawn before S), and it ended before H only if the probe could see its row. A row that somebody has claimed without
having committed is visible to the probe, so a claim that rolls back later is never passed. A prepared
transaction keeps its holder's name; one that a restart of the server has brought back has a new one, and always guards.

When a guard of a step is gone, the step is probed by a statement after the listing that missed it: nothing visible,
and the guards left are those of that listing (none: the step is done with); otherwise claims start at the straggler.
A guard's rows lie in the steps it guards and nowhere else, so an idle one doesn't widen the sweeps for the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Holders = frozenset[str]
Positions = Mapping[int, int]


@dataclass(slots=True)
class Step:
    """Positions above ``low`` and up to ``high``, per lane: what may still show up there belongs to ``guards``."""

    low: dict[int, int]
    high: dict[int, int]
    guards: Holders
    swept: Holders | None = None
    """The guards that will be left if the probe under way finds the step empty; None when no probe is."""


@dataclass(slots=True)
class Candidate:
    """A floor to be: positions reached, the holders listed after them, and when (monotonic seconds)."""

    high: dict[int, int]
    holders: Holders
    since: float
    confirmed: Holders | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """A question for ``jobs.probe``: the lowest visible row of ``lane`` in (low, high]."""

    lane: int
    low: int
    high: int


@dataclass(slots=True)
class Floor:
    """The floor of a set of lanes, as one worker knows it. Everything starts at zero, which is slow and true."""

    lanes: tuple[int, ...]
    floor: dict[int, int] = field(init=False)
    reached: dict[int, int] = field(init=False)
    steps: list[Step] = field(init=False, default_factory=list)
    candidate: Candidate | None = field(init=False, default=None)
    stragglers: dict[int, int] = field(init=False, default_factory=dict)
    whole: bool = field(init=False, default=True)
    """Whether the claim under way begins at the floors and not past what was claimed above them."""
    _asked: list[tuple[Range, Step | None]] = field(init=False, default_factory=list)
    _whole_at: float = field(init=False, default=0.0)
    _whole_next: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self.floor = dict.fromkeys(self.lanes, 0)
        self.reached = dict.fromkeys(self.lanes, 0)

    def reset(self) -> None:
        """Forget everything: after a reconnect, and for a new worker."""
        self.__post_init__()
        self.steps, self.candidate, self.stragglers, self._asked = [], None, {}, []
        self._whole_next = True

    def start(self, lane: int) -> int:
        """The position after which everything claimable of this lane stands."""
        return self.stragglers.get(lane, self.floor[lane])

    def starts(self, now: float | None = None) -> list[int]:
        """Where the claim that is sent now (monotonic seconds) begins, lane by lane; None for at the floors.

        Above its floor a claim walks over what was claimed in the last lag, which under a held snapshot are thousands
        of dead rows. That walk may take WALK_SHARE of the time; claims in between begin past the last one.
        """
        span = sum(self.reached.values()) - sum(self.floor.values())
        self.whole = (
            now is None or self._whole_next or now - self._whole_at >= span * WALK_SECONDS_PER_POSITION / WALK_SHARE
        )
        if not self.whole:
            return [self.stragglers.get(lane, self.reached[lane]) for lane in self.lanes]
        self._whole_next, self._whole_at = False, now or 0.0
        return [self.start(lane) for lane in self.lanes]

    @property
    def open(self) -> bool:
        """Whether listing the holders would serve: something was claimed above the floor, or steps have guards."""
        return bool(self.steps) or self.reached != self.floor

    def claimed(self, highest: Positions, *, short: bool) -> bool:
        """A claim committed that began where ``starts`` said; ``highest`` are its last positions, per lane.

        ``short``: it came back with fewer rows than it asked for, so it saw every lane to its end. True when there was
        nothing else to claim: a short claim that began past a floor is followed by one that begins there.
        """
        for lane, position in highest.items():
            if position > self.reached[lane]:
                self.reached[lane] = position
            if lane in self.stragglers:
                self.stragglers[lane] = position
        for lane in list(self.stragglers):
            if short or self.stragglers[lane] >= self.floor[lane]:
                del self.stragglers[lane]
        self._whole_next = self._whole_next or (short and not self.whole)
        return short and self.whole

    def failed(self) -> None:
        """A claim failed, or its outcome is unknown: its rows may come back, so no candidate, and every step is swept.

        Its rows lie above ``start`` of that time: the floor hasn't risen since, but stragglers may be among them.
        """
        self.candidate, self._whole_next = None, True
        for step in self.steps:
            step.guards |= {FAILED_CLAIM}

    def listed(self, holders: Holders, now: float, lag: float) -> list[Range]:
        """Holders were listed after every claim noted so far. What to probe next, by a later statement; often nothing.

        ``now`` and ``lag`` are monotonic seconds. Listing again before the probe has answered asks anew.
        """
        prepared = frozenset(holder for holder in holders if holder.startswith(PREPARED))
        self._asked = []
        for step in self.steps:
            left = (step.guards & holders) | prepared
            step.swept = left if step.guards - holders else None
            if step.swept is not None:
                self._ask(step.low, step.high, step)
        if self.candidate is None:
            if self.reached != self.floor:
                self.candidate = Candidate(dict(self.reached), holders, now)
        elif now - self.candidate.since >= lag:
            self.candidate.confirmed = (self.candidate.holders & holders) | prepared
            self._ask(self.floor, self.candidate.high, None)
        return [asked for asked, _ in self._asked]

    def probed(self, found: Mapping[int, int]) -> bool:
        """The answers to the ranges of ``listed``, by their number there: the lowest visible position. True when
        stragglers were found, so that a claim should follow at once."""
        late: set[int] = set()
        blocked = False
        for number, (asked, step) in enumerate(self._asked):
            if number not in found:
                continue
            if step is None:
                blocked = True
            else:
                late.add(id(step))
                before = found[number] - 1
                self.stragglers[asked.lane] = min(before, self.stragglers.get(asked.lane, before))
        self._asked = []
        for step in self.steps:
            if step.swept is not None and id(step) not in late:
                step.guards = step.swept
            step.swept = None
        self._raise(blocked)
        self._merge()
        return bool(self.stragglers)

    def _ask(self, low: Positions, high: Positions, step: Step | None) -> None:
        self._asked += [(Range(lane, low[lane], high[lane]), step) for lane in self.lanes if low[lane] < high[lane]]

    def _raise(self, blocked: bool) -> None:
        candidate = self.candidate
        if candidate is None or candidate.confirmed is None:
            return
        self.candidate, self._whole_next = None, self._whole_next or blocked
        if not blocked:
            self.steps.append(Step(self.floor, candidate.high, candidate.confirmed))
            self.floor = dict(candidate.high)

    def _merge(self) -> None:
        """Steps without guards are done with; neighbours with the same guards are one."""
        kept: list[Step] = []
        for step in self.steps:
            if not step.guards:
                continue
            if kept and kept[-1].guards == step.guards and kept[-1].high == step.low:
                kept[-1].high = step.high
            else:
                kept.append(step)
        self.steps = kept


PREPARED = "-1/"
"""How pg_locks names the holder when it is a prepared transaction from before a restart: no backend, then its id."""

FAILED_CLAIM = "failed claim"
"""A guard that no listing holds: it makes the next listing sweep the step."""


WALK_SECONDS_PER_POSITION = 150e-9
"""What walking over one dead entry of ``ready`` costs a claim (measured: 125 ms for a million)."""

WALK_SHARE = 0.1
"""The part of the time that claims may spend on walking over what they have claimed themselves."""


def lag_seconds(living: int, least: float, per_worker: float) -> float:
    """How long a candidate waits: long enough that short transactions don't become guards, and that many workers
    don't list the locks too often."""
    return max(least, per_worker * living)


def highest(lanes: Sequence[int], positions: Sequence[int]) -> dict[int, int]:
    """The last position of each lane in a claim."""
    return dict(zip(lanes, positions, strict=True))
