"""``perdure verify``: it holds on a good server, and says so when a guard is gone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from psycopg import sql

from perdure.admin.stage import RUNGS
from perdure.bench.process import Crew
from perdure.bench.stage import PREFIX, Stage
from perdure.core.errors import InvalidOption
from perdure.verify.guarantees import FROZEN_JOBS_SECONDS, GUARANTEES, asked
from perdure.verify.run import Verdict, verify
from perdure.verify.setups import FIXED, MISSING, SWITCHES, setup
from tests.conftest import Database
from tests.tidy.source import ROOT

SHORT = ("atomic", "unique", "exclusive", "dead letters")

SPOILED = {
    "exclusive": ("ready", "after delete", "insert into {0}.ready (lane, pos, id) "
                                           "select lane - 1, nextval('{0}.pos'), id from {0}.job "
                                           "where id = old.id and pos = old.pos;"),
    "dead letters": ("dead", "before insert", "new.error := 'lost';"),
    "drain": ("worker", "before update", "if new.state = 'left' then new.state := 'dead'; end if;"),
    "expiry": ("job", "before update", "if new.rescues > old.rescues then new.attempt := new.attempt + 1; end if;"),
    "stale": ("history", "after insert", "insert into {0}.job select * from {0}.job where false; "
                                         "insert into {0}.history_default select (new).*;"),
}  # fmt: skip
"""Triggers that take one guard away: on which table, when, and what they do."""


def _quiet(_: object) -> None: ...


def _spoil(stage: Stage, name: str) -> None:
    table, when, act = SPOILED[name]
    text = act.format(stage.schema)
    stage.conn.execute(
        f"create function {stage.schema}.spoil() returns trigger language plpgsql as "
        f"$$ begin {text} return new; end $$;"
        f"create trigger spoil {when} on {stage.schema}.{table} for each row execute function {stage.schema}.spoil()"
    )


def _run(db: Database, name: str) -> Verdict:
    (verdict,) = verify(db.url, _quiet, _quiet, names=[name], prepare=lambda stage: _spoil(stage, name))
    return verdict


def test_the_guarantees_hold_here(empty_db: Database) -> None:
    """On a good server each guarantee holds, with what was seen, and no schema is left [DW-169]."""
    told: list[Verdict] = []
    found = verify(empty_db.url, _quiet, told.append, names=SHORT)

    assert found == told
    assert [(verdict.guarantee, verdict.held) for verdict in found] == [(name, True) for name in SHORT]
    assert [verdict.stage for verdict in found] == [1, 2, 3, 2]
    assert all(len(verdict.evidence) > 20 for verdict in found)
    left = "select count(*) from pg_namespace where starts_with(nspname, %s)"
    assert empty_db.connect().execute(left, [PREFIX]).fetchone() == (0,)


@pytest.mark.parametrize(
    "name",
    [name if name in ("exclusive", "dead letters") else pytest.param(name, marks=pytest.mark.soak) for name in SPOILED],
)
def test_a_guarantee_whose_guard_is_gone_is_said_to_be_broken(empty_db: Database, name: str) -> None:
    """With a guard taken away in the database itself, by a trigger, the check of that guarantee fails and says what it
    saw [DW-170]. Red when a check can't fail."""
    verdict = _run(empty_db, name)

    assert not verdict.held
    assert verdict.evidence


MOMENTS = ("another worker has begun", "the second of three steps has begun")
"""What a check has waited for when it kills, freezes or dismisses somebody."""


@pytest.mark.parametrize(
    "name", ["steps", *[pytest.param(each, marks=pytest.mark.soak) for each in ("expiry", "stale", "drain")]]
)
def test_who_kills_or_freezes_may_come_late(empty_db: Database, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The machine is busy when a worker is to be killed, frozen or told to leave: it is in the middle of its work all
    the same, and the guarantee holds [DW-169]. Red when that work ends by itself meanwhile: then a good server is said
    to be broken."""
    until = Crew.until

    async def late(self: Crew, true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        await until(self, true, what, seconds)
        if what in MOMENTS:
            expiry = sql.SQL("select extract(epoch from min(expires_at)) from {}.worker where state = 'alive'")
            ask = expiry.format(sql.Identifier(self._stage.schema))
            while True:  # until every worker has beaten for longer than its work takes
                row = self._stage.conn.execute(ask).fetchone()
                assert row is not None
                beats.append(float(row[0]))
                if beats[-1] > beats[0] + 2 * FROZEN_JOBS_SECONDS:
                    break
                await asyncio.sleep(0.05)

    beats = list[float]()
    monkeypatch.setattr(Crew, "until", late)
    (verdict,) = verify(empty_db.url, _quiet, _quiet, names=[name])

    assert verdict.held, verdict.evidence
    assert beats


STAGES = [number for number in range(1, len(RUNGS) + 1) if number not in MISSING]

TOP = {1: "durable", 2: "dead letters", 3: "exclusive", 5: "drain", 7: "steps"}
"""What each stage adds, as far as CI asks for it: with all of them, a stage takes up to a minute."""

WITHOUT = {"wake-ups": "exclusive", "housekeeping": "dead letters", "drain": "exclusive"}
"""What would suffer first if the control weren't one of its own."""


def _assert_all_hold(db: Database, *, stage: int | None = None, without: str | None = None, names: list[str]) -> None:
    found = verify(db.url, print, print, setup=setup(stage, without), names=names)

    assert {verdict.guarantee: verdict.evidence for verdict in found if not verdict.held} == {}
    assert [verdict.guarantee for verdict in found] == names


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_holds_what_it_adds(empty_db: Database, stage: int) -> None:
    """With everything off that a later stage of the ladder adds (other workers, wake-ups, housekeeping, drain), what
    this stage promises holds [DW-5]. Stages 4 and 6, ownership and boundaries, have no parts yet that could be on or
    off. Red when a worker finds jobs by notification alone, or is rescued by its mates alone."""
    _assert_all_hold(empty_db, stage=stage, names=[TOP[stage]])


@pytest.mark.soak
@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_holds_all_that_is_promised_up_to_it(empty_db: Database, stage: int) -> None:
    """The whole suite of each stage: its own guarantees and those of every stage before, later ones off [DW-5]."""
    _assert_all_hold(empty_db, stage=stage, names=asked(setup(stage)))


@pytest.mark.parametrize("control", SWITCHES)
def test_a_guarantee_needs_no_control_of_a_later_stage(empty_db: Database, control: str) -> None:
    """With a single control off, wake-ups, housekeeping or drain, jobs are found, retried and run once as ever [DW-99];
    renewal and fencing are part of every claim and settlement, and can't be off. Red when retries wait for
    housekeeping, or claims for a notification."""
    _assert_all_hold(empty_db, without=control, names=[WITHOUT[control]])


@pytest.mark.soak
@pytest.mark.parametrize("control", SWITCHES)
def test_every_other_guarantee_holds_without_a_control(empty_db: Database, control: str) -> None:
    """The whole suite with each single control off: every guarantee but the control's own [DW-99]."""
    _assert_all_hold(empty_db, without=control, names=asked(setup(without=control)))


def test_a_stage_is_asked_for_what_it_has() -> None:
    """A stage is asked for its guarantees and those below, with what is above it off; a control that is off isn't asked
    for itself. Every guarantee belongs to a stage that exists."""
    assert asked(setup(1)) == ["atomic", "durable"]
    assert asked(setup(3)) == ["atomic", "durable", "unique", "expiry", "dead letters", "exclusive"]
    assert asked(setup()) == list(GUARANTEES)
    assert asked(setup(without="drain")) == [name for name in GUARANTEES if name != "drain"]
    assert setup(2).options == {"listen": False, "housekeeping": False, "drain_seconds": 0.0}
    assert [setup(number).alone for number in (2, 3)] == [True, False]
    assert setup(5).options == {}
    assert setup(7).missing == ["stage 4 (ownership)", "stage 6 (boundaries)"]
    assert {each.stage for each in GUARANTEES.values()} == set(STAGES)


@pytest.mark.parametrize(
    ("stage", "without", "said"),
    [
        (4, None, "stage 4 (ownership) doesn't exist yet"),
        (3, "drain", "two questions"),
        (None, "sleep", "'sleep' is no control; try wake-ups, housekeeping, drain"),
        *[(None, name, f"{name} can't be off: {why}") for name, why in FIXED.items()],
    ],
)
def test_what_can_not_be_asked_is_said(stage: int | None, without: str | None, said: str) -> None:
    """A stage without parts, a control that nobody can have off, and one that doesn't exist are refused with a reason
    [DW-99]."""
    with pytest.raises(InvalidOption) as refused:
        setup(stage, without)

    assert said in str(refused.value)


@pytest.mark.soak
def test_the_command_puts_every_guarantee_to_the_test(empty_db: Database) -> None:
    """``perdure verify --json`` checks all of them, with kills and freezes, and ends with 0 [DW-169, DW-170]."""
    ended = subprocess.run(
        [sys.executable, "-m", "perdure", "verify", "--url", empty_db.url, "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert {each["guarantee"]: each["held"] for each in json.loads(ended.stdout)} == dict.fromkeys(GUARANTEES, True)
