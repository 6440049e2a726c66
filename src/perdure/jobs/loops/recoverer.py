"""The recoverer: what a worker does when it no longer knows what it holds.

That is after a claim of unknown outcome, and after every new connection of the claimer: it may lead to a server that
was restarted, or to one that took over and lacks the last commits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping, Sequence, Set
from datetime import UTC, datetime

import msgspec

from ...fleet.ops.workers import reincarnate
from ...runtime import faults
from ...runtime.patience import patiently
from ..ops.leases import Held, leases
from ..ops.settle import drop_leases
from ..work import Claimed, End, Lease
from .claimer import Identity
from .link import Link
from .runner import Runner
from .settler import Settler

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
        await patiently(self._find_out)

    async def _find_out(self) -> None:
        """Both or none: when the connection is lost in between, the next server may lack the new incarnation."""
        worker = self._me.worker
        incarnation = await self._link.run(reincarnate(worker, self._me.next()))
        if self._me.worker != worker or incarnation is None:
            return  # declared dead: the worker has begun anew, or will when its next beat says so
        self._me.incarnation = incarnation
        faults.point("recover.before_leases")
        async with self._settler.held_still():
            most, unsure = self._settler.unsettled(self._leases.values())
            held = await self._link.run(leases(worker))
            if self._me.worker == worker:
                self._reconcile({lease.lease: lease for lease in held}, most, unsure)
                if empty := [lease.lease for lease in held if not lease.jobs and lease.lease not in self._leases]:
                    await self._link.run(drop_leases(empty))  # when that was lost with a server, or on the wire

    def _reconcile(self, held: Mapping[int, Held], most: Mapping[int, int], unsure: Set[int]) -> None:
        """A lease is written whole by one claim. So one that is held and isn't known is a lost claim's, and goes back;
        one that is known and isn't held was lost by the server, and everything in it is somebody else's. One that has
        more jobs than have not ended is held by a server that lacks what was settled of them: it goes back whole, for
        what has ended can't be told from what hasn't."""
        begun = set[int]()
        for id, lease in list(self._leases.items()):
            if not lease.left and not most[id] and id in held and not held[id].jobs:
                del self._leases[id]  # of jobs that their handlers have settled
            elif id not in held or lease.lost or sum(job not in unsure for job, _ in held[id].jobs) > most[id]:
                self._leases.pop(id).lost = True
                begun.add(id)
        self._settler.drop_lost()
        for runner in self._runners:
            runner.offer([job for job in runner.take_back() if not job.lease.lost])
            runner.stop_jobs("lost", frozenset())  # not by id: a job that was lost may run here again
        for id in sorted(held.keys() - self._leases.keys()):
            if held[id].jobs:
                self._give_back(held[id], id in begun)

    def _give_back(self, held: Held, begun: bool) -> None:
        """Back to ready; but what must not run twice, and may have begun, is to be reviewed."""
        why = "of a server that lacks what was settled of it" if begun else "of a claim whose answer was lost"
        log.warning("lease %d is %s: its %d jobs go back", held.lease, why, len(held.jobs))
        # Known from now, so that another recovery doesn't give it back again, and what may have begun as if it hadn't.
        lease = self._leases[held.lease] = Lease(held.lease, len(held.jobs))
        for id, generation in held.jobs:
            job = Claimed(id, generation, lease, 1, "", msgspec.Raw(b"{}"), datetime.min.replace(tzinfo=UTC))
            if begun and id in held.once:
                text = "it may have run, and the server that took over doesn't know how it ended"
                self._settler.end(End(job, "dead", 0, text=text, reason="needs_review"))
            else:
                self._settler.end(End(job, "returned", 0, reason="unknown_claim"))
