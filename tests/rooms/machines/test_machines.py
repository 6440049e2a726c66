"""Machines: one table of transitions, held by Postgres against everybody, moved by compare-and-set."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from typing import Any

import psycopg
import pytest

from perdure import App, AsyncClient, Client, Machine, Transition, context
from perdure.core.errors import QueueSaturated
from perdure.jobs.bounds import Rule
from perdure.jobs.ops.admission import declare
from perdure.machines import errors
from perdure.machines.model import Entity, Facts
from perdure.pg.drive import drive
from tests.conftest import Database
from tests.rooms.worker.stage import Stage, until, working

SHOP = App("shop")


@SHOP.task
async def send_receipt(order_id: str) -> str:
    """What entering ``paid`` asks for."""
    return order_id


def enough(entity: Entity, facts: Facts) -> bool:
    """Whether what was paid is enough."""
    return int(facts.get("cents", 0)) >= 100


ORDER = SHOP.machine(
    Machine(
        "order",
        initial="created",
        transitions=[
            Transition("pay", "created", "paid", guard=enough),
            Transition("ship", "paid", "shipped"),
            Transition("cancel", ("created", "paid"), "cancelled"),
            Transition("reopen", "cancelled", "created"),
        ],
        enter={"paid": lambda entity: send_receipt.job(entity.id)},
        stuck_after={"paid": timedelta(hours=1)},
    )
)
PAIRS = list(product(ORDER.states, repeat=2))


@pytest.fixture
def client(db: Database) -> Iterator[Client]:
    """A client of a database in which the shop's machines are declared."""
    with Client(db.url) as client:
        client.machines.declare(SHOP)
        yield client


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_database_refuses_every_illegal_pair(client: Client, db: Database, source: str, target: str) -> None:
    """Whoever writes to the table, with whatever program: an entity goes from a state to another one only by a
    transition that is declared between the two; every other pair is refused by Postgres itself [PAT-9]. Red without
    the trigger."""
    conn = db.connect()
    client.machines.create(ORDER, "1")
    conn.execute("alter table perdure.entity disable trigger user")
    conn.execute("update perdure.entity set state = %s", [source])
    conn.execute("alter table perdure.entity enable trigger user")
    edges = {(state, each.target): event for (state, event), each in ORDER.table.items()}
    event = edges.get((source, target), "pay")
    update = "update perdure.entity set state = %s, revision = revision + 1, event = %s"

    if (source, target) in edges:
        conn.execute(update, [target, event])
    else:
        with pytest.raises(psycopg.Error) as refused:
            conn.execute(update, [target, event])
        assert refused.value.sqlstate == "PD010"
    row = conn.execute("select state from perdure.entity").fetchone()
    assert row == (target if (source, target) in edges else source,)


def test_nobody_begins_in_the_middle_nor_changes_what_a_move_decides(client: Client, db: Database) -> None:
    """An entity begins in the initial state of a declared machine; its revision, its times and its id change by a move
    only. Red without the trigger's other branches."""
    conn = db.connect()
    client.machines.create(ORDER, "1")
    for statement in (
        "insert into perdure.entity (machine, id, state) values ('order', '2', 'paid')",
        "insert into perdure.entity (machine, id, state) values ('nothing', '2', 'created')",
        "update perdure.entity set id = '2'",
        "update perdure.entity set entered_at = now() - interval '1 day'",
        "update perdure.entity set revision = 7",
    ):
        with pytest.raises(psycopg.Error) as refused:
            conn.execute(statement.encode())
        assert refused.value.sqlstate == "PD010", statement


def test_of_fifty_who_move_at_once_one_does(client: Client, db: Database) -> None:
    """Fifty callers pay one order at the same time: one has moved it, forty-nine are told that they haven't, and what
    entering the state asks for is enqueued once [PAT-10]. Red when the state is asked before the statement that moves
    it and not in it."""
    client.machines.create(ORDER, "1")

    def pay(number: int) -> str:
        try:
            return client.machines.move(ORDER, "1", "pay", facts={"cents": 100}, by=f"user:{number}").state
        except (errors.IllegalTransition, errors.TransitionConflict) as refused:
            return refused.code

    with ThreadPoolExecutor(50) as crowd:
        answers = list(crowd.map(pay, range(50)))

    assert answers.count("paid") == 1
    assert set(answers) <= {"paid", "illegal_transition", "transition_conflict"}
    assert client.machines.get(ORDER, "1").revision == 1
    assert [job.payload for job in client.jobs.list()] == [{"order_id": "1"}]


def test_each_refusal_is_told_apart_and_writes_nothing(client: Client) -> None:
    """An event that doesn't leave the state, a guard that says no, a revision that has passed, an entity that doesn't
    exist: each is an error of its own that names the entity and the fix; a final state stays final, and what comes
    late is refused [PAT-14]. Red when a refused move is taken for one that was made."""
    move = client.machines.move
    client.machines.create(ORDER, "1")
    cases: list[tuple[type[errors.MachineError], dict[str, Any]]] = [
        (errors.IllegalTransition, {"event": "ship"}),
        (errors.IllegalTransition, {"event": "fly"}),
        (errors.GuardRefused, {"event": "pay", "facts": {"cents": 99}}),
        (errors.TransitionConflict, {"event": "cancel", "expected": 1}),
    ]
    for kind, words in cases:
        with pytest.raises(kind) as refused:
            move(ORDER, "1", **words)
        assert refused.value.field == "order 1"
        assert refused.value.fix
    with pytest.raises(errors.EntityNotFound):
        move(ORDER, "2", "cancel")
    with pytest.raises(errors.EntityExists):
        client.machines.create(ORDER, "1")
    assert client.machines.get(ORDER, "1").revision == 0

    move(ORDER, "1", "pay", facts={"cents": 100})
    move(ORDER, "1", "ship", expected=1)
    with pytest.raises(errors.IllegalTransition, match="the state is final"):
        move(ORDER, "1", "cancel")


async def test_the_log_replays_to_where_the_entity_stands(db: Database) -> None:
    """Every move is logged in its own transaction, with who, why and the context it was made in; the log of each
    entity leads from its beginning to the state that it is in, whatever was rolled back [PAT-13]. Red when the log
    isn't written by the statement that moves."""
    async with AsyncClient(db.url) as client:
        await client.machines.declare(SHOP)
        with context.bind(correlation_id="r-1"):
            await client.machines.create(ORDER, "1", by="user:7")
        for number in range(2, 6):
            await client.machines.create(ORDER, str(number))
        await asyncio.gather(*(client.machines.move(ORDER, str(n), "cancel", reason="late") for n in range(1, 6)))
        with contextlib.suppress(ZeroDivisionError):
            async with client.transaction() as tx:
                await tx.machines.move(ORDER, "1", "reopen")
                raise ZeroDivisionError
        await client.machines.move(ORDER, "2", "reopen")
        for number in range(1, 6):
            moves = await client.machines.history(ORDER, str(number))
            state = None
            for place, move in enumerate(moves):
                assert (move.revision, move.source) == (place, state)
                state = move.target
            found = await client.machines.get(ORDER, str(number))
            assert (found.state, found.revision) == (state, len(moves) - 1)
        first = await client.machines.history(ORDER, "1")

    assert [(move.event, move.moved_by, move.reason) for move in first] == [
        (None, "user:7", None),
        ("cancel", None, "late"),
    ]
    assert first[0].context == {"v": 1, "correlation_id": "r-1"}


async def test_what_a_person_may_do_the_clock_does_by_the_same_edge(stage: Stage) -> None:
    """An entity that stands too long in a state with a timed transition is moved by a worker, with all that entering
    the next state asks for, once; one that has been moved by hand is left alone, and so is one that came back into the
    state later: its alarm is of another revision [PAT-11]. Red when an alarm doesn't say which revision it is for."""
    app = App("a")
    sent: list[str] = []

    @app.task
    async def remind(id: str) -> None:
        sent.append(id)

    cart = app.machine(
        Machine(
            "cart",
            initial="open",
            transitions=[
                Transition("expire", "open", "expired", after=timedelta(seconds=0.2)),
                Transition("buy", "open", "bought"),
                Transition("restart", "bought", "reopened"),
                Transition("expire", "reopened", "expired", after=timedelta(days=1)),
            ],
            enter={"expired": lambda entity: remind.job(entity.id)},
        )
    )
    async with AsyncClient(stage.db.url) as client:
        await client.machines.declare(app)
        for id in ("left", "bought", "back"):
            await client.machines.create(cart, id)
        for id in ("bought", "back"):
            await client.machines.move(cart, id, "buy")
        await client.machines.move(cart, "back", "restart")
        async with working(stage.db, app):
            await stage.until_true("select count(*) = 3 from perdure.history where task = 'machine/cart'")
            await stage.until_true("select exists (select from perdure.history where task = 'remind')")
        left, bought, back = [await client.machines.get(cart, id) for id in ("left", "bought", "back")]

    assert [each.state for each in (left, bought, back)] == ["expired", "bought", "reopened"]
    assert (left.event, left.moved_by, left.revision) == ("expire", "clock", 1)
    assert sent == ["left"]


async def test_a_guard_that_says_no_to_the_clock_is_asked_again(stage: Stage) -> None:
    """A timed transition whose guard says no, or asks for a fact that the clock doesn't give, isn't over: it is asked
    again, and happens when the guard says yes; to a person who gives too little it is a refusal that names the fact
    [PAT-11]. Red when a refused alarm ends, and when a missing fact is the guard's own error."""
    app, asked, open_ = App("a"), list[str](), list[bool]()

    def may_expire(entity: Entity, facts: Facts) -> bool:
        asked.append(entity.id)
        return bool(open_) or (len(asked) > 1 and facts["cents"] > 0)

    expire = Transition("expire", "open", "expired", guard=may_expire, after=timedelta(seconds=0.2))
    cart = app.machine(Machine("cart", initial="open", transitions=[expire]))
    async with AsyncClient(stage.db.url) as client:
        await client.machines.declare(app)
        await client.machines.create(cart, "1")
        async with working(stage.db, app):
            await until(lambda: len(asked) >= 2)
            with pytest.raises(errors.GuardRefused, match="'cents'"):
                await client.machines.move(cart, "1", "expire")
            open_.append(True)
            await stage.until_true("select count(*) = 1 from perdure.history where task = 'machine/cart'")
        assert (await client.machines.get(cart, "1")).state == "expired"
    assert await stage.value("select count(*) from perdure.attempt where ending <> 'snooze'") == 0


def test_what_is_stuck_is_found_by_an_index(client: Client, db: Database) -> None:
    """Entities that have stood too long where they shouldn't are listed, longest first, and nobody else; the question
    goes through an index, however many entities there are [PAT-12]. Red without ``entity_stuck``, or when a move
    doesn't set the time anew."""
    conn = db.connect()
    for id in ("1", "2", "3"):
        client.machines.create(ORDER, id)
        client.machines.move(ORDER, id, "pay", facts={"cents": 100})
    client.machines.move(ORDER, "3", "ship")
    conn.execute("alter table perdure.entity disable trigger user")
    conn.execute("update perdure.entity set stuck_at = stuck_at - interval '2 hours' - id::int * interval '1 s'")
    conn.execute(
        "insert into perdure.entity (machine, id, state, stuck_at)"
        " select 'order', 'x' || n, 'paid', case when n % 100 = 0 then now() + interval '1 h' end"
        " from generate_series(1, 20000) n"
    )
    conn.execute("alter table perdure.entity enable trigger user")
    conn.execute("analyze perdure.entity")

    assert [entity.id for entity in client.machines.stuck(ORDER)] == ["2", "1"]
    counts = {each.state: (each.entities, each.stuck) for each in client.machines.counts()}
    assert counts == {"created": (0, 0), "paid": (20002, 2), "shipped": (1, 0), "cancelled": (0, 0)}
    asked = "explain select * from perdure.entity where stuck_at <= clock_timestamp() order by stuck_at limit 100"
    assert "entity_stuck" in "".join(str(row) for row in conn.execute(asked))


def test_what_entering_asks_for_is_jobs_and_nothing_else(client: Client) -> None:
    """An ``enter`` that gives something else than jobs is refused with its state, and nothing is written. Red when what
    can't be enqueued is dropped."""
    app = App("shop")
    flag = app.machine(
        Machine("flag", initial="up", transitions=[Transition("dip", "up", "down")], enter={"down": lambda _: 5})  # type: ignore[dict-item, return-value]
    )
    client.machines.declare(app)
    client.machines.create(flag, "1")
    with pytest.raises(errors.InvalidMachine, match="enter of down gives int"):
        client.machines.move(flag, "1", "dip")
    assert client.machines.get(flag, "1").state == "up"


def test_code_that_is_ahead_of_the_database_is_told_so(client: Client) -> None:
    """A transition that the code has and the database doesn't, because older code declared last, is refused as that and
    not as a conflict. Red when the move is only tried until it gives up."""
    newer = Machine("order", initial="created", transitions=[*ORDER.transitions, Transition("hold", "created", "held")])
    client.machines.create(ORDER, "1")
    with pytest.raises(errors.IllegalTransition, match="in this code and not in the database"):
        client.machines.move(newer, "1", "hold")


async def _says_yes(entity: Entity, facts: Facts) -> bool:
    return True


def test_a_declaration_that_would_strand_entities_is_refused(client: Client) -> None:
    """A new declaration without a state in which entities stand is refused with its name, and the old one holds; once
    they have left, it is taken. Red without the look for strays."""
    client.machines.create(ORDER, "1")
    smaller = App("smaller")
    smaller.machine(Machine("order", initial="begun", transitions=[Transition("end", "begun", "paid")]))

    with pytest.raises(errors.InvalidMachine, match="entities stand in created"):
        client.machines.declare(smaller)
    client.machines.move(ORDER, "1", "pay", facts={"cents": 100})
    client.machines.declare(smaller)

    assert {each.state for each in client.machines.counts()} == {"begun", "paid"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"transitions": [Transition("a", "x", "y"), Transition("b", "z", "y")]}, "nothing leads to z"),
        ({"transitions": []}, "has no transition"),
        ({"transitions": [Transition("a", "y", "z")]}, "initial is x, which no transition names"),
        ({"transitions": [Transition("a", "x", "y", guard=5)]}, "the guard of a is 5"),  # type: ignore[arg-type]
        ({"transitions": [Transition("a", "x", "y")], "enter": {"y": "mail"}}, "enter of y is 'mail'"),
        ({"transitions": [Transition("a", "x", "y")], "stuck_after": {"y": timedelta(1)}}, "which nothing leaves"),
        ({"transitions": [Transition("a", "x", "y"), Transition("a", "x", "z")]}, "a leaves x twice"),
        ({"transitions": [Transition("a", "x", "y")], "enter": {"z": lambda entity: None}}, "which is no state"),
        ({"transitions": [Transition("a", "x", "y", after=timedelta(0))]}, "after no time"),
        ({"transitions": [Transition("a", "x", "y", guard=_says_yes)]}, "the guard of a is async"),  # type: ignore[arg-type]
        (
            {
                "transitions": [
                    Transition("a", "x", "y", after=timedelta(1)),
                    Transition("b", "x", "y", after=timedelta(2)),
                ]
            },
            "each after a time",
        ),
    ],
)
def test_a_machine_that_can_not_be_is_refused(words: dict[str, Any], problem: str) -> None:
    """What can't be meant, a state that nothing leads to or an event that leaves one twice, say, is refused where the
    machine is made, naming it [DW-206]. Red without the look at what is reached."""
    with pytest.raises(errors.InvalidMachine, match=problem):
        Machine("m", initial="x", **words)


def test_an_entity_stays_where_it_is_when_its_enqueue_is_refused(client: Client, db: Database) -> None:
    """An entity whose new state asks for a job that a full queue refuses hasn't moved, and one whose first state does
    isn't there, in a transaction that its caller goes on with; nor has one whose function for entering fails. Red when
    the refusal leaves the move written."""
    shop = App("other")

    @shop.task(queue="shut")
    async def pack(id: str) -> None: ...

    def broken(entity: Entity) -> Any:
        raise ZeroDivisionError

    steps = [Transition("begin", "new", "packed"), Transition("fail", "new", "failed")]
    ask = {"packed": lambda entity: pack.job(entity.id), "failed": broken}
    parcel = shop.machine(Machine("parcel", initial="new", transitions=steps, enter=ask))
    steps = [Transition("end", "packed", "ended")]
    bag = shop.machine(Machine("bag", initial="packed", transitions=steps, enter={"packed": ask["packed"]}))
    client.machines.declare(shop)
    conn = db.connect()
    with conn.transaction():
        drive(conn, declare([Rule(name="shut", max_depth=1, when_full="reject")], "shop"))
    client.jobs.enqueue(pack.job("in the way"))
    client.machines.create(parcel, "1")

    with conn.transaction():
        machines = client.on(conn).machines
        for event, error in (("begin", QueueSaturated), ("fail", ZeroDivisionError)):
            with pytest.raises(error):
                machines.move(parcel, "1", event)
        with pytest.raises(QueueSaturated):
            machines.create(bag, "2")
        machines.create(ORDER, "3")

    found = conn.execute("select machine, id, state, revision from perdure.entity order by id").fetchall()
    assert found == [("parcel", "1", "new", 0), ("order", "3", "created", 0)]
    assert [(move.event, move.target) for move in client.machines.history(parcel, "1")] == [(None, "new")]
