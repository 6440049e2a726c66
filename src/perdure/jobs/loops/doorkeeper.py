"""The doorkeeper: what a queue declares beyond its handlers, asked before one of its jobs is started.

Only queues that declare such a thing have one at the door.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ...core import limits
from ...runtime.clock import monotonic
from ...runtime.dice import jittered
from ..budget import PUT_OFF, RetryBudget
from ..work import Claimed, End


class Doorkeeper:
    """Stops jobs of one queue: retries past its budget, and jobs without a tenant where one is required.

    A retry that is put off goes back to scheduled with no attempt charged. A job without its tenant is parked: nobody
    can say for whom it would run.
    """

    def __init__(self, share: float | None, *, tenant_required: bool = False) -> None:
        self._budget = None if share is None else RetryBudget(share)
        self._lock = threading.Lock()  # handlers in threads begin and end their jobs there
        self.tenant_required = tenant_required
        self.put_off = 0

    @property
    def needed(self) -> bool:
        """Whether there is anything to stop."""
        return self._budget is not None or self.tenant_required

    def stops(self, job: Claimed) -> End | None:
        """The end of a job that isn't started, with no attempt charged; None for one that may be."""
        if self.tenant_required and job.envelope.tenant is None:
            return End(job, "held", 0, reason="context_missing", key=job.task)
        if self._budget is None or job.attempt == 1:
            return None
        with self._lock:
            if self._budget.spend(monotonic()):
                return None
            self.put_off += 1
        # A suspect stays one: only by ending by itself does it lose the mark, and a snooze would take it away.
        suspect = job.extras is not None and job.extras.rescues > 0
        return End(
            job,
            "deferred" if suspect else "snooze",
            0,
            text=PUT_OFF,
            delay=jittered(limits.RETRY_PUT_OFF_SECONDS),
        )

    def counting(self, settle: Callable[[End], None]) -> Callable[[End], None]:
        """The same settling, with completed jobs counted for the budget."""
        budget = self._budget
        if budget is None:
            return settle

        def counted(end: End) -> None:
            if end.verdict == "completed":
                with self._lock:
                    budget.completed()
            settle(end)

        return counted
