"""What may be declared of a queue, and what is decided about jobs it has no room for."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from perdure import App
from perdure.core.errors import InvalidOption, QueueSaturated
from perdure.jobs.bounds import LINE, Room, Rule, admission, state
from perdure.jobs.model import JobSpec

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no room at all": ({"max_depth": 0}, "max_depth"),
    "a negative bound": ({"max_depth": -5}, "max_depth"),
    "half a job": ({"max_depth": 1.5}, "max_depth"),
    "a bound that is none": ({"max_depth": 10**12}, "max_depth"),
    "a word": ({"max_depth": "many"}, "max_depth"),
    "no age at all": ({"max_age": 0}, "max_age"),
    "a reaction without a bound": ({"when_full": "reject"}, "when_full"),
    "a reaction of what is unlimited": ({"max_depth": "unlimited", "when_full": "reject"}, "when_full"),
    "unlimited, and bound": ({"max_depth": "unlimited", "max_age": 5}, "max_age"),
    "an unknown reaction": ({"max_depth": 5, "when_full": "panic"}, "when_full"),
    "a wait without an end": ({"max_depth": 5, "when_full": "block"}, "deadline"),
    "an end without a wait": ({"max_depth": 5, "deadline": 5}, "deadline"),
    "a wait of nothing": ({"max_depth": 5, "when_full": "block", "deadline": 0}, "deadline"),
    "half a day": ({"retention": timedelta(hours=12)}, "retention"),
    "a day and a half": ({"retention": timedelta(hours=36)}, "retention"),
    "a retention that isn't a time": ({"retention": 7}, "retention"),
    "perhaps a tenant": ({"tenant_required": 1}, "tenant_required"),
    "no connections": ({"connections": 0}, "connections"),
    "more retries than work": ({"retry_budget": 1.5}, "retry_budget"),
    "less than no retries": ({"retry_budget": -0.1}, "retry_budget"),
    "promises per key": ({"per_key": object()}, "per_key"),
    "a queue-wide limit": ({"limit": object()}, "limit"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_t_be_meant_of_a_queue_is_refused_by_name(what: str) -> None:
    """A declaration that contradicts itself, or means nothing, is an InvalidOption that names the option."""
    said, field = REFUSED[what]
    with pytest.raises(InvalidOption) as refused:
        App("shop").queue("mail", **said)

    assert refused.value.field == field
    assert refused.value.fix


def test_a_queue_is_declared_once() -> None:
    """The second declaration of a queue in one app is refused; what the first one said stands."""
    app = App("shop")
    app.queue("mail", max_depth=5, max_age=timedelta(minutes=1))
    with pytest.raises(InvalidOption, match="twice"):
        app.queue("mail", max_depth=6)
    app.queue("logs", max_depth="unlimited")
    app.queue("rest")

    told = {name: str(rule) for name, rule in app.queues.items()}
    assert told == {
        "mail": "at most 5 jobs and 60 s, then reject",
        "logs": "without a bound",
        "rest": "no bound declared",
    }


def _room(name: str, when_full: Any, room: int) -> Room:
    return Room(
        id=3,
        name=name,
        max_depth=10,
        when_full=when_full,
        deadline=None,
        depth=9,
        age=None,
        room=room,
        retry_after=10.0,
    )


def test_each_queue_of_a_batch_reacts_for_itself() -> None:
    """In one batch, jobs of a queue with room are taken as they are, those past another's room stand in its line, and
    what is due later anyway stays so."""
    one = JobSpec(task="work", payload="{}", queue="spills")
    specs = [one, one.options(queue="free"), one.options(delay=60), one, one.options(queue="free"), one]

    taken = admission(specs, [_room("spills", "spill", 1), _room("free", "reject", 2)])

    line = LINE + timedelta(seconds=3)
    assert (taken.due, taken.sheds) == ({3: line, 5: line}, [])


def test_a_refusal_says_what_to_do_and_travels() -> None:
    """QueueSaturated names the queue and a time to come back after, as a problem document does, and can be pickled; a
    batch that can never fit is told so."""
    one = JobSpec(task="work", payload="{}", queue="mail")
    with pytest.raises(QueueSaturated) as refused:
        admission([one] * 5, [_room("mail", "reject", 1)])
    with pytest.raises(QueueSaturated, match="at most 10 at a time"):
        admission([one] * 11, [_room("mail", "reject", 10)])

    error: QueueSaturated = pickle.loads(pickle.dumps(refused.value))
    assert str(error) == (
        "queue: the queue mail holds 9 jobs of 10, and has no room for 5 jobs; "
        "try again in 10 s, or see why the queue drains no faster"
    )
    members = {name: error.problem[name] for name in ("code", "status", "queue", "retry_after")}
    assert members == {"code": "queue_saturated", "status": 429, "queue": "mail", "retry_after": 10}


STATES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("open", {}, {"ready": 0, "oldest_seconds": None}),
    ("open", {}, {}),
    ("paused", {}, {"paused_at": 1, "workers": 0}),
    ("stalled", {}, {"workers": 0}),
    ("open", {}, {"ready": 0, "workers": 0}),
    ("full", {"max_depth": 1_000}, {}),
    ("full", {"max_depth": 1_500}, {"line": 500}),
    ("open", {"max_depth": 1_500}, {}),
    ("full", {"max_age": 1}, {}),
    ("in_debt", {}, {"oldest_seconds": 61}),
    ("in_debt", {}, {"grown": 900}),
    ("open", {}, {"grown": 90}),
    ("open", {}, {"grown": 900, "grown_in": 2}),
    ("open", {}, {"grown": 900, "ended_per_second": 500}),
    ("open", {}, {"ready": 9, "grown": 9}),
]


@pytest.mark.parametrize(("said", "declared", "found"), STATES)
def test_a_queue_s_state_is_what_stands_in_it_and_how_that_grows(
    said: str, declared: dict[str, Any], found: dict[str, Any]
) -> None:
    """A thousand jobs are no debt in themselves: growth over long enough, or age, is; no error need have happened
    [ARC-14]."""
    row = {"ready": 1_000, "line": 0, "oldest_seconds": 5, "ended_per_second": 10, "paused_at": None, "workers": 1}
    row |= {"grown": 0, "grown_in": 30}

    assert state(Rule(name="mail", **declared), row | found) == said
