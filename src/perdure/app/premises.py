"""What a worker keeps for each of its queues: connections for its handlers, and who stands at its door."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Set

from ..core.errors import InvalidOption
from ..jobs.budget import Budget
from ..jobs.loops.doorkeeper import Doorkeeper
from ..jobs.loops.link import Link
from ..jobs.loops.runner import Runner
from ..jobs.ops import admission
from .books import Books
from .declarations import Declarations
from .desk import Desk
from .registry import App

log = logging.getLogger("perdure.worker")


class Premises:
    """The rooms of a worker's queues. ``desks``: by queue; no queue's handlers use the connections of another's."""

    def __init__(self, app: Declarations, queues: Iterable[str], url: str, schema: str, books: Books) -> None:
        self._app = app
        budgets = {name: app.budgets.get(name, Budget()) for name in queues}
        self.desks = {
            name: Desk(url, schema, books, connections=budget.connections) for name, budget in budgets.items()
        }
        self.doors = {name: Doorkeeper(budget.retries) for name, budget in budgets.items()}
        self._runners: dict[str, Runner] = {}

    async def declare(self, link: Link, there: Container[str]) -> None:
        """Write what the app declares of those of its queues that are there, say so where another app had declared it
        differently, and learn what holds for the queues of this worker."""
        rules = [rule for rule in self._app.queues.values() if rule.name in there]
        for each in await link.transaction(admission.declare(rules, self._app.name)):
            if each.before is not None:
                told = (each.rule.name, each.rule, self._app.name, each.before, each.before_by)
                log.warning("the queue %s takes %s, says the app %s now; it took %s, said the app %s", *told)
        for name in await link.run(admission.tenants_required([name for name in self.doors if name in there])):
            self.doors[name].tenant_required = True
            if name in self._runners:  # found only after its slots were made
                self.told(name, tenant_required=True)

    def guard(self, name: str, runner: Runner) -> Runner:
        """Put the queue's doorkeeper before its slots, if it has anything to say."""
        self._runners[name] = runner
        self.told(name, tenant_required=self.doors[name].tenant_required)
        return runner

    def told(self, name: str, *, tenant_required: bool) -> None:
        """Hear what is declared of a queue now."""
        door = self.doors[name]
        door.tenant_required = tenant_required
        self._runners[name].gate = door.stops if door.needed else None

    async def close(self) -> None:
        """Close the handlers' connections."""
        for desk in self.desks.values():
            await desk.close()


def warn_of_crowds(app: App, queues: Mapping[str, int]) -> None:
    """Say of which queues (their slots, by name) more handlers may run at a time than there are connections for, when
    those may ask for one."""
    for name in sorted({task.queue for task in app.tasks.values() if task.signature.context} & queues.keys()):
        connections = app.budgets.get(name, Budget()).connections
        if queues[name] > connections:  # as it is by default, and fine where few of them ask for one at a time
            log.info(
                "the queue %s has %d slots and %d connections for ctx.transaction() and ctx.enqueue(): who finds all "
                "in use waits, and is put off after ten seconds; give it as many as it needs at a time "
                "(app.queue(%r, connections=…)), or fewer slots",
                *(name, queues[name], connections, name),
            )


def tell_unnamed(app: Declarations, named: Set[str], served: Iterable[str]) -> None:
    """Say which queues a worker serves that no task of its app names, and, of one that serves all that they name,
    which it leaves alone although the app declares them."""
    queues = frozenset(served)
    if odd := sorted(queues - named):
        log.warning("no task of the app names the queue %s (they name %s)", ", ".join(odd), ", ".join(sorted(named)))
    if queues == named and (left := sorted(app.queues.keys() - named)):
        log.warning(
            "the app declares the queue %s, and none of its tasks names it: jobs there wait for a worker that is given "
            "it by name (queues=, --queues)",
            ", ".join(left),
        )


def check_retention(app: Declarations, history_days: int) -> None:
    """Refuse a queue that would keep its finished jobs for longer than the worker keeps any. Raises InvalidOption."""
    for rule in app.queues.values():
        if rule.retention_days is not None and rule.retention_days > history_days:
            raise InvalidOption(
                f"of the queue {rule.name} is {rule.retention_days} days, and the worker keeps {history_days}",
                field="retention",
                fix="keep history for longer (--history-days), or the queue's jobs for less long",
            )
