"""Workflows under kill -9: what is recorded is never done again, and every run ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from perdure import Client, WorkflowFailed
from perdure.core.run_errors import WorkflowFinished
from tests.chaos import checkout as shop
from tests.chaos.floor import Floor, Process, until

TABLES = """
create table tried (run text not null, step text not null, pid int not null,
                    at timestamptz not null default clock_timestamp());
create table done (run text not null, step text not null, primary key (run, step));
create table paid (run text primary key)
"""
POINTS = [
    "workflow.before_step", "workflow.after_step", "workflow.before_record", "workflow.after_record",
    "workflow.before_commit", "workflow.after_commit", "workflow.after_spawn", "settle.before_flush",
    "settle.after_flush", "claim.after",
]  # fmt: skip


@pytest.fixture
def client(floor: Floor) -> Iterator[Client]:
    """A client for the floor's database, and the tables in which steps leave their traces."""
    floor.conn.execute(TABLES)
    with Client(floor.db.url) as client:
        yield client


def _worker(floor: Floor, fault: str = "", slots: int = 10) -> Process:
    arguments = ("--queues", f"default:{slots}")
    return floor.worker(*arguments, app="tests.chaos.checkout:app", started=not fault, PERDURE_FAULT=fault)


def _assert_recorded_once(floor: Floor) -> None:
    """No step was tried again after it was recorded, and none was tried before the one ahead of it was recorded."""
    again = (
        "select t.run, t.step from tried t join perdure.run r on r.id = t.run join perdure.step s on s.run = r.job "
        "and s.name = t.step where t.at > s.ended_at"
    )
    assert floor.rows(again) == []
    ahead = (
        "select t.run, t.step from tried t join perdure.run r on r.id = t.run "
        "join perdure.step s on s.run = r.job and s.name = t.step "
        "join perdure.step p on p.run = r.job and p.seq < s.seq and p.kind = 'step' and t.step in ('charge') "
        "where t.at < p.ended_at"
    )
    assert floor.rows(ahead) == []


def test_a_checkout_survives_a_kill_at_every_fault_point(floor: Floor, client: Client) -> None:
    """Workers that are killed at each point of a run's way while thirty checkouts go on: each ends with its result,
    each step has one effect, what was recorded was never tried again, rows of the application stand together with the
    record of their step, and no child was started twice [DW-209, DW-190, DW-194].

    Red when a result reaches the code before it is recorded, and when the record of a transaction is written apart.
    """
    ids = [f"checkout:{number}" for number in range(30)]
    client.workflows.start_many((shop.checkout.run(number), id) for number, id in enumerate(ids))
    for id in ids:
        client.workflows.signal(id, "shipped", "by truck")
    doomed = [_worker(floor, f"{point}@{1 + place % 2}:kill", slots=3) for place, point in enumerate(POINTS)]
    until(lambda: sum(worker.ended for worker in doomed) >= len(POINTS) - 2, floor.logs)
    _worker(floor)
    found = [client.workflows.wait(id, timeout=60) for id in ids]

    assert found == [f"ch_{number} by truck" for number in range(30)]
    assert {worker.wait() for worker in doomed if worker.ended} == {-signal.SIGKILL}
    assert floor.rows("select step, count(*) from done group by step order by step") == [
        ("charge", 30), ("invoice", 30), ("notify", 30), ("reserve", 30)]  # fmt: skip
    assert floor.value("select count(*) from paid") == 30
    _assert_recorded_once(floor)
    assert floor.value("select count(*) from perdure.run") == 60
    floor.until_true("select count(*) = 60 from perdure.history")


def test_a_worker_that_was_frozen_records_nothing_and_starts_nothing(floor: Floor, client: Client) -> None:
    """A worker frozen in the middle of a step, while others take its run and end it: when it goes on, what it has to
    record is refused, it starts no further step, and the run has one result [DW-193, DW-192].

    Red without the generation in the record of a step.
    """
    client.workflows.start(shop.checkout.run(1), id="c")
    frozen = _worker(floor, "workflow.before_record:stop")
    floor.until_true("select count(*) = 1 from tried")
    floor.until_true(
        "select not exists (select from perdure.worker where state = 'alive' and expires_at > clock_timestamp())"
    )
    relief = _worker(floor)
    client.workflows.signal("c", "shipped", 1)
    assert client.workflows.wait("c", timeout=60) == "ch_1 1"
    before = floor.rows("select name, seq, ended_at from perdure.step order by run, seq")
    frozen.signal(signal.SIGCONT)
    until(lambda: "begins anew" in frozen.said() or "runs elsewhere" in frozen.said(), frozen.said)

    assert floor.rows("select name, seq, ended_at from perdure.step order by run, seq") == before
    assert floor.rows("select step, count(*) from tried where pid = %s group by step", frozen.pid) == [("reserve", 1)]
    assert not relief.ended


def test_a_crash_after_two_of_five_runs_only_the_other_three(floor: Floor, client: Client) -> None:
    """A worker is killed when two of five steps that are gathered have been recorded and three run: another one runs
    those three again and no other, and has all five results [KIT-39]. Red when a gathering is carried out whole."""
    client.workflows.start(shop.five.run(), id="g")
    doomed = _worker(floor)
    floor.until_true("select count(*) = 5 and (select count(*) = 2 from perdure.step) from tried")
    doomed.kill()
    floor.conn.execute("insert into paid (run) values ('g')")
    _worker(floor)

    assert client.workflows.wait("g", timeout=60) == [0, 1, 2, 3, 4]
    assert floor.rows("select step, count(*) from tried group by step order by step") == [
        ("s0", 1), ("s1", 1), ("s2", 2), ("s3", 2), ("s4", 2)]  # fmt: skip


instructions: st.SearchStrategy[list[Any]] = st.deferred(lambda: _instructions())


def _instructions() -> st.SearchStrategy[list[Any]]:
    return st.one_of(
        st.tuples(st.just("step"), st.integers(0, 9)),
        st.tuples(st.just("undoable"), st.integers(0, 9)),
        st.tuples(st.just("stumble"), st.integers(1, 3)),
        st.tuples(st.just("sleep"), st.integers(0, 300)),
        st.tuples(st.just("signal"), st.integers(0, 2)),
        st.tuples(st.just("gather"), st.integers(1, 4)),
        st.tuples(st.just("raise")),
        st.tuples(st.just("child"), st.lists(instructions, max_size=3)),
    ).map(list)


programs = st.lists(st.lists(instructions, min_size=1, max_size=6), min_size=40, max_size=40)


class Model:
    """What a program brings, and which effects it has, told by plain Python."""

    def __init__(self, program: list[Any], run: str) -> None:
        self.effects: set[tuple[str, str]] = set()
        self.signals: list[tuple[str, str]] = []
        self.failed = False
        self.result: Any = None
        undo: list[str] = []
        found: list[Any] = []
        for number, (kind, *rest) in enumerate(program):
            name = str(number)
            if kind == "raise" or self._line(kind, rest, name, run, found, undo):
                self.failed = True
                self.effects |= {(run, f"undo {each}") for each in undo}
                return
        self.result = found

    def _line(self, kind: str, rest: list[Any], name: str, run: str, found: list[Any], undo: list[str]) -> bool:
        if kind in ("step", "undoable", "stumble"):
            self.effects.add((run, name))
            found.append("ValueError" if kind == "stumble" else rest[0])
            if kind == "undoable":
                undo.append(name)
        elif kind == "gather":
            self.effects |= {(run, f"{name}.{each}") for each in range(rest[0])}
            found.append(list(range(rest[0])))
        elif kind == "signal":
            self.signals.append((run, f"s{rest[0]}"))
            found.append(f"{run} s{rest[0]}")
        elif kind == "child":
            child = Model(rest[0], f"{run}/{name}")
            self.effects |= child.effects
            self.signals += child.signals
            found.append(child.result)
            return child.failed
        else:
            found.append(None)
        return False


@pytest.mark.parametrize("restarts", [pytest.param(False, marks=pytest.mark.soak), True])
def test_random_programs_end_as_a_plain_model_says(floor: Floor, client: Client, restarts: bool) -> None:
    """Programs of steps, failures, sleeps, signals, gatherings, children and compensations, made by chance, run by
    workers that are killed again and again (and a server that is restarted): each has the result and exactly the
    effects that a plain reading of it says [DW-190, DW-194, PAT-53].

    Red when a replay repeats or skips a step, a signal is lost, or a compensation is forgotten.
    """
    made: list[list[Any]] = []

    @seed(20_26 + restarts)
    @settings(max_examples=5, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(programs)
    def draw(found: list[Any]) -> None:
        made[:] = max(made, found, key=lambda each: len(str(each)))  # the first ones that are drawn are very simple

    draw()
    models = {f"p{number}": Model(program, f"p{number}") for number, program in enumerate(made)}
    client.workflows.start_many(
        (shop.play.run(program), id) for (id, _), program in zip(models.items(), made, strict=True)
    )
    workers = [_worker(floor), _worker(floor)]
    _send(client, [each for model in models.values() for each in model.signals if "/" not in each[0]])
    for turn in range(4):
        until(partial(_gone_on, floor, client, models, turn * 40), floor.logs)
        workers[turn % 2].kill()
        workers[turn % 2] = _worker(floor)
        if restarts and turn == 2:
            floor.db.server.restart()
            floor.reconnect()
    ended = {id: _ended(floor, client, models, id) for id in models}

    assert {id: found for id, found in ended.items() if found != (models[id].failed, models[id].result)} == {}
    wanted = {each for model in models.values() for each in model.effects}
    assert set(floor.rows("select run, step from done")) == wanted
    _assert_recorded_once(floor)


def _send(client: Client, signals: list[tuple[str, str]]) -> None:
    for run, name in signals:
        client.workflows.signal(run, name, f"{run} {name}")


def _send_children(floor: Floor, client: Client, models: dict[str, Model]) -> None:
    """Signals to children that have been started meanwhile: each as often as its program asks, by a key of its own."""
    known = {id for (id,) in floor.rows("select id from perdure.run where parent is not null and ended_at is null")}
    for model in models.values():
        counts: dict[tuple[str, str], int] = {}
        for run, name in model.signals:
            counts[run, name] = counts.get((run, name), 0) + 1
            if run not in known:
                continue
            with contextlib.suppress(WorkflowFinished):  # it has had all of them, or has failed before
                client.workflows.signal(run, name, f"{run} {name}", key=str(counts[run, name]))


def _gone_on(floor: Floor, client: Client, models: dict[str, Model], steps: int) -> bool:
    """Whether so many steps have been tried, or all there are; what the runs wait for is sent meanwhile."""
    _send_children(floor, client, models)
    tried = "select count(*) > %s or not exists (select from perdure.run where ended_at is null) from tried"
    return bool(floor.value(tried, steps))


def _ended(floor: Floor, client: Client, models: dict[str, Model], id: str) -> tuple[bool, Any]:
    def there() -> bool:
        _send_children(floor, client, {id: models[id]})
        return client.workflows.get(id).finished

    until(there, floor.logs)
    try:
        return False, client.workflows.wait(id, timeout=1)
    except WorkflowFailed:
        return True, None
