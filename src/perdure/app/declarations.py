"""What an app declares of queues: ``app.queue(name, …)``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

from ..core.errors import InvalidOption
from ..jobs import bounds
from ..jobs.bounds import Rule, WhenFull
from ..jobs.budget import Budget, budget


class Declarations:
    """The queues of an app: what everybody is bound by, and what each of its workers keeps for itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._queues: dict[str, Rule] = {}
        self._budgets: dict[str, Budget] = {}

    @property
    def queues(self) -> Mapping[str, Rule]:
        """What is declared of queues, by their names, read-only."""
        return MappingProxyType(self._queues)

    @property
    def budgets(self) -> Mapping[str, Budget]:
        """What each worker keeps for the declared queues, by their names, read-only."""
        return MappingProxyType(self._budgets)

    def queue(
        self,
        name: str,
        *,
        max_depth: int | Literal["unlimited"] | None = None,
        max_age: timedelta | float | None = None,
        when_full: WhenFull | None = None,
        deadline: timedelta | float | None = None,
        retention: timedelta | None = None,
        tenant_required: bool = False,
        connections: int | None = None,
        retry_budget: float | None = None,
        per_key: object = None,
        limit: object = None,
    ) -> None:
        """Declare what a queue may hold, and what becomes of a job for which it has no room.

        A worker of the app writes it to the database when it starts, as ``client.queues.declare(app)`` and ``perdure
        queues apply`` do; from then on it binds everybody who enqueues.
        ``max_depth``: how many jobs may wait in it, or "unlimited", when that is meant. ``max_age``: how long the
        oldest may have been ready (seconds or a timedelta) before the queue counts as full.
        ``when_full``: "reject" (unless said), "block" until there is room, for ``deadline`` at most; "shed_lowest": a
        less urgent job is discarded for it; "delay" and "spill" take the job in and run it later.
        ``retention``: how long its finished jobs are kept, in whole days, no longer than a worker keeps all of them.
        ``tenant_required``: a job without a tenant in its context is refused, and isn't run.
        What each worker of the app keeps for itself: ``connections`` to Perdure's database for the queue's handlers,
        ten unless said; ``retry_budget``: how many retries it runs for each job that completes, 0.1 for one in ten.
        Raises InvalidOption, naming the option.
        """
        for option, value in (("per_key", per_key), ("limit", limit)):
            if value is not None:
                raise InvalidOption("isn't supported yet", field=option, fix="leave it out")
        rule = bounds.rule(
            name,
            max_depth=max_depth,
            max_age=max_age,
            when_full=when_full,
            deadline=deadline,
            retention=retention,
            tenant_required=tenant_required,
        )
        if name in self._queues:
            raise InvalidOption(f"the app {self.name} declares {name!r} twice", field="name", fix="declare it once")
        self._budgets[name] = budget(connections, retry_budget)
        self._queues[name] = rule
