"""The two clients are one surface in two colours."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from perdure import AsyncClient, Client
from perdure.app.client.bound import AsyncBound, AsyncTransaction, Bound, Transaction
from perdure.app.client.jobs import AsyncJobs, Jobs
from perdure.app.client.machines import AsyncMachines, Machines
from perdure.app.client.queues import AsyncQueues, Queues
from perdure.app.client.workers import AsyncWorkers, Workers
from perdure.app.client.workflows import AsyncWorkflows, Workflows

NOUNS = [
    (Jobs, AsyncJobs),
    (Machines, AsyncMachines),
    (Queues, AsyncQueues),
    (Workers, AsyncWorkers),
    (Workflows, AsyncWorkflows),
]


def _public(cls: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(cls, callable) if not name.startswith("_")}


@pytest.mark.parametrize(("sync", "awaited"), NOUNS)
def test_a_noun_has_the_same_verbs_in_both_colours(sync: type, awaited: type) -> None:
    """Each verb exists in both colours with the same parameters and result, and is a coroutine in one of them only."""
    ours, theirs = _public(sync), _public(awaited)

    assert ours.keys() == theirs.keys()
    for name, verb in ours.items():
        assert inspect.signature(verb) == inspect.signature(theirs[name]), name
        assert (inspect.iscoroutinefunction(verb), inspect.iscoroutinefunction(theirs[name])) == (False, True), name
        assert verb.__doc__, name
        assert theirs[name].__doc__ == f"As ``{sync.__name__}.{name}``.", name


def test_the_clients_have_the_same_nouns_and_ways_in() -> None:
    """Client and AsyncClient differ in nothing but colour, and so do what ``on`` and ``transaction`` give."""
    sync, awaited = Client("postgresql://localhost/none"), AsyncClient("postgresql://localhost/none")

    assert _public(Client).keys() == _public(AsyncClient).keys() == {"close", "on", "run", "transaction"}
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    nouns = {name for name in vars(sync) if not name.startswith("_")}
    assert nouns == {name for name in vars(awaited) if not name.startswith("_")}
    assert nouns == {"jobs", "machines", "queues", "workers", "workflows"}
    assert [(type(getattr(sync, noun)), type(getattr(awaited, noun))) for noun in sorted(nouns)] == NOUNS
    assert issubclass(Transaction, Bound)
    assert issubclass(AsyncTransaction, AsyncBound)
