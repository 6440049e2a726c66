"""Planted bugs: one guard of the product taken out, in memory. The simulator must notice each of them soon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.jobs.floors import Floor
from perdure.jobs.loops.settler import Settler
from perdure.jobs.work import End, Lease


@dataclass(frozen=True, slots=True)
class Bug:
    """A statement, what its text says and what it says instead; or attributes of the code, and what they are then."""

    statement: str = ""
    text: str = ""
    instead: str = ""
    code: tuple[tuple[type, str, Callable[..., Any]], ...] = ()


def _reached(self: Floor, lane: int) -> int:
    return self.reached[lane]


def _all_reached(self: Floor, now: float | None = None) -> list[int]:
    self.whole = True
    return [self.reached[lane] for lane in self.lanes]


_RAISE = Floor._raise


def _raised_unguarded(self: Floor, blocked: bool) -> None:
    if self.candidate is not None and self.candidate.confirmed is not None:
        self.candidate.confirmed = frozenset()
    _RAISE(self, blocked)


def _raised_anyway(self: Floor, blocked: bool) -> None:
    _RAISE(self, False)


_HELD = Settler._held


async def _held_of_the_flush(self: Settler, ends: Sequence[End]) -> set[int]:
    everything = self._leases
    self._leases = {end.job.lease.id: end.job.lease for end in ends}
    try:
        return await _HELD(self, ends)
    finally:
        for id in [id for id, lease in everything.items() if lease.lost]:
            del everything[id]
        self._leases = everything


def _any_number(self: Settler, leases: Iterable[Lease]) -> tuple[Counter[int], set[int]]:
    return Counter({lease.id: 1_000_000 for lease in leases}), set()


BUGS: Mapping[str, Bug] = {
    "a settlement doesn't look at the generation": Bug(
        "jobs.finish", " and j.generation = %(generation)s::int\n", "\n"
    ),
    "a retry doesn't look at the generation": Bug("jobs.reschedule", " and j.generation = %(generation)s::int\n", "\n"),
    "a burial doesn't look at the generation": Bug("jobs.bury", " and j.generation = %(generation)s::int\n", "\n"),
    "a give-back doesn't look at the generation": Bug(
        "jobs.give_back", " and j.generation = %(generation)s::int order", " order"
    ),
    "a give-back leaves the generation": Bug("jobs.give_back", "set generation = j.generation + 1, pos", "set pos"),
    "a rescue doesn't look at the generation": Bug("jobs.rescue", " and listed.generation = j.generation\n", "\n"),
    "a rescue leaves the generation": Bug("jobs.rescue", "set generation = j.generation + 1, rescues", "set rescues"),
    "a rescue charges an attempt": Bug(
        "jobs.rescue", ", pos = mine.pos,", ", attempt = j.attempt + 1, pos = mine.pos,"
    ),
    "a rescue takes from the living, too": Bug(
        "jobs.rescue", "a.state in ('alive', 'draining')", "a.state = 'draining'"
    ),
    "a lease is closed with jobs in it": Bug(
        "jobs.close_lease",
        "and not exists (select from perdure.job j join unnest(l.jobs, l.generations) as t(id, generation)\n"
        "                      on j.id = t.id and j.generation = t.generation where j.id = any(l.jobs))",
        "",
    ),
    "a claim doesn't hold its worker alive": Bug("jobs.claim", "    for key share of w\n", "\n"),
    "a claim doesn't name its incarnation": Bug("jobs.claim", "w.incarnation = %(incarnation)s::int and ", ""),
    "a worker is declared dead without the lock": Bug("fleet.expired", "\nfor update", ""),
    "a new incarnation doesn't wait for its claim": Bug(
        "fleet.reincarnate", "state in ('alive', 'draining') for update", "state in ('alive', 'draining')"
    ),
    "an incarnation that comes late counts": Bug("fleet.reincarnate", " and w.incarnation < %(incarnation)s::int", ""),
    "a draining worker's claim goes through": Bug(
        "fleet.drain", "and state = 'alive' for update", "and state = 'alive'"
    ),
    "a retry forgets the scheduled row": Bug(
        "jobs.reschedule", "select run_at, id from moved", "select run_at, id from moved where false"
    ),
    "a cancel ends what is leased": Bug(
        "jobs.cancel",
        "where j.id = any(array(select id from left_place))",
        "where j.id = any(array(select id from body))",
    ),
    "a redrive leaves the generation": Bug("jobs.redrive", "set generation = j.generation + 1, attempt", "set attempt"),
    "a parking doesn't look at the generation": Bug("jobs.park", " and j.generation = %(generation)s::int\n", "\n"),
    "a crash alone leaves the generation": Bug(
        "jobs.isolate", "set generation = j.generation + 1, attempt", "set attempt"
    ),
    "a signal doesn't hold its run": Bug("workflows.hold", "\nfor key share of r", ""),
    "a settled job leaves no trace": Bug("jobs.traces", "where h.id = t.id and", "where h.id = -t.id and"),
    "a floor is where the claims have been": Bug(
        code=((Floor, "start", _reached), (Floor, "starts", _all_reached)),
    ),
    "a floor has no guards": Bug(code=((Floor, "_raise", _raised_unguarded),)),
    "a floor isn't confirmed": Bug(code=((Floor, "_raise", _raised_anyway),)),
    "after a take-over only the leases in the flush are asked for": Bug(code=((Settler, "_held", _held_of_the_flush),)),
    "a lease is dropped whatever the server has in it": Bug(code=((Settler, "unsettled", _any_number),)),
    "a handler's transaction doesn't ask for the lease": Bug(
        "jobs.hold",
        "\n  and exists (select from perdure.lease l where l.id = %(lease)s::bigint"
        " and %(id)s::bigint = any(l.jobs) offset 0)\n",
        "\n",
    ),
}
"""By what it does."""
