"""The recoverer: what a worker does when it no longer knows what it holds.

That is after a claim of unknown outcome, and after every new connection of the claimer: it may lead to a server that
was restarted, or to one that took over and lacks the last commits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime

import msgspec

from ...fleet.ops.workers import reincarnate
from ...runtime import faults
from ...runtime.patience import patiently
from ..ops.leases import Held, leases
from ..work import Claimed, End, Lease
from .claimer import Identity
from .runner import Runner
from .settler import Link, Settler

log = logging.getLogger("perdure.claim")


class Recoverer:
    """Makes a worker hold exactly what the database says it holds.

    ``leases``: those with a job in this process's hands in any way, by id.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        settler: Settler,
        runners: Sequence[Runner],
        leases: MutableMapping[int, Lease],
    ) -> None:
        self._link, self._me, self._settler, self._runners, self._leases = link, identity, settler, runners, leases

    async def recover(self) -> None:
        """Take a new incarnation, which no claim that is still under way can name, then read the leases in a later
        statement. Waits for a server that doesn't answer.

        Nothing is settled meanwhile: the leases that are read must be those of a moment at which no settlement was
        half known.
        """
        worker = self._me.worker
        incarnation = await patiently(lambda: self._link.run(reincarnate(worker, self._me.next())))
        if self._me.worker != worker or incarnation is None:
            return  # declared dead: the worker has begun anew, or will when its next beat says so
        self._me.incarnation = incarnation
        faults.point("recover.before_leases")
        async with self._settler.held_still():
            held = await patiently(lambda: self._link.run(leases(worker)))
            if self._me.worker == worker:
                self._reconcile({lease.lease: lease for lease in held})

    def _reconcile(self, held: Mapping[int, Held]) -> None:
        """A lease is written whole by one claim. So one that is held and isn't known is a lost claim's, and goes back;
        one that is known and isn't held was lost by the server, and everything in it is somebody else's."""
        known = set(self._leases)
        for id in known - held.keys():
            self._leases.pop(id).lost = True
        self._settler.drop_lost()
        for runner in self._runners:
            in_hand = runner.in_hand()
            runner.offer([job for job in runner.take_back() if not job.lease.lost])
            runner.stop_jobs("lost", frozenset(job.id for job in in_hand if job.lease.lost))
        for id in sorted(held.keys() - known):
            self._give_back(held[id])

    def _give_back(self, held: Held) -> None:
        log.warning("lease %d is of a claim whose answer was lost: its %d jobs go back", held.lease, len(held.jobs))
        lease = Lease(held.lease, len(held.jobs))
        for id, generation in held.jobs:
            job = Claimed(id, generation, lease, 1, "", msgspec.Raw(b"{}"), datetime.min.replace(tzinfo=UTC))
            self._settler.end(End(job, "returned", 0, reason="unknown_claim"))
