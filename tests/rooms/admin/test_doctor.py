"""The doctor: each check says ok of a healthy system, and something else of the one that it is there for."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.admin import doctor
from perdure.admin.doctor import horizon, workers
from perdure.admin.model import Check, Finding, Subject
from perdure.core.op import Op, rows
from perdure.fleet.ops import workers as fleet
from perdure.jobs import bounds
from perdure.jobs.ops.admission import declare
from perdure.sql import report
from tests.rooms.admin.surgery import examined
from tests.rooms.jobs.stage import Stage

TOMORROW = """from (select 1) x; do $$ begin execute 'drop table perdure.attempt_'
|| to_char((now() at time zone 'UTC')::date + 1, 'YYYYMMDD'); end $$"""
SICK = [
    ("jobs.places", "delete from perdure.ready", "fail", "2 jobs don't stand in exactly one place"),
    ("jobs.places", "insert into perdure.dead (id, reason) select id, 'x' from perdure.job", "fail", "2 jobs"),
    ("jobs.places", "delete from perdure.job", "fail", "2 jobs"),
    ("jobs.places", "update perdure.ready set pos = pos + 1000", "fail", "2 jobs"),
    ("queues.attended", "select 1", "warn", "no living worker serves default (2 ready)"),
    (
        "queues.attended",
        "update perdure.job set created_at = created_at - interval '2 minutes'",
        "fail",
        "perdure worker APP --queues default",
    ),
    ("history.days", f"select {TOMORROW}", "warn", "tomorrow has no partition in attempt yet"),
    ("history.days", "select perdure.drop_days(-1)", "fail", "today has no partition in history and attempt"),
]


CHORE = "insert into perdure.chore (name, {}) values ('history.drop', {})"
BACKGROUND = [
    (CHORE.format("last_success_at", "now()"), "ok", "done when it is due"),
    (CHORE.format("consecutive_failures, last_error", "1, 'no luck'"), "warn", "the last time with: no luck"),
    (CHORE.format("consecutive_failures, last_error", "5, 'no luck'"), "fail", "it failed 5 times in a row"),
    (
        CHORE.format("consecutive_failures, parked_until, last_error", "3, now() + interval '1 h', 'no luck'"),
        "fail",
        "perdure chores unpark history.drop",
    ),
    (
        CHORE.format("period, last_success_at, last_error", "'1 h', now() - interval '3 h', 'a reader was in the way'"),
        "warn",
        "a reader was in the way",
    ),
]


@pytest.mark.parametrize(("memory", "status", "said"), BACKGROUND)
def test_a_background_failure_reaches_somebody(stage: Stage, memory: str, status: str, said: str) -> None:
    """The doctor has a finding for each kind of chore, which names its last error and what to do when it fails, is
    parked, or is late while workers live [OPS-74]. Red when a failure is only logged."""
    stage.worker()
    stage.main.sql(memory)
    found = examined(stage)["background.history.drop"]

    assert found.status == status
    assert said in found.message
    assert {"last_success_at", "consecutive_failures", "last_error"} <= found.evidence.keys()


def test_a_crash_loop_is_told(stage: Stage) -> None:
    """Three unclean ends within ten minutes fail, two are a warning, and clean ones count for nothing; each is named
    with its cause [OPS-76]."""
    stage.main.run(fleet.leave(stage.worker("clean").id))
    found = [examined(stage)["proc.crash_loop"]]
    for name in ("one", "two"):
        stage.lose(stage.worker(name))
    found.append(examined(stage)["proc.crash_loop"])
    stage.main.run(fleet.leave(stage.worker("three").id, "a loop broke: KeyError"))
    found.append(examined(stage)["proc.crash_loop"])
    stage.main.run(fleet.excuse())
    found.append(examined(stage)["proc.crash_loop"])

    assert [each.status for each in found] == ["ok", "warn", "fail", "ok"]
    assert found[2].evidence["last"][0] == "three: a loop broke: KeyError"
    assert "perdure chores resume" in found[2].message


@pytest.mark.parametrize(("lost", "status"), [(0, "ok"), (1, "warn"), (2, "fail")])
def test_slots_that_are_lost_are_named(stage: Stage, lost: int, status: str) -> None:
    """Slots that handlers keep after their jobs have ended are named with their queue and their worker, by what it says
    of itself; a queue for which it has none left fails. A worker of before says nothing of that, and isn't named. Red
    when no check asks for them."""
    worker, gauges = stage.worker(), "update perdure.worker set gauges = %s::text::json where id = %s"
    stage.main.sql(gauges, ['{"queues": {"default": {"slots": 2, "busy": 2}}}', stage.worker("before").id])
    stage.main.sql(gauges, [f'{{"queues": {{"default": {{"slots": 2, "busy": 2, "lost": {lost}}}}}}}', worker.id])
    found = examined(stage)["workers.lost_slots"]

    assert (found.status, found.evidence["lost"]) == (status, lost)
    assert (f"default: {lost} of 2 in worker {worker.id}" in found.message) is (lost > 0)


@pytest.mark.parametrize(("check", "damage", "status", "said"), SICK)
def test_a_sick_system_is_told_from_a_healthy_one(
    stage: Stage, check: str, damage: str, status: str, said: str
) -> None:
    """What a check is there for is found, with the figures and what to do; without the damage it says ok."""
    stage.enqueue(2)
    stage.main.sql("select perdure.make_days(3)")
    if check != "queues.attended":
        assert examined(stage)[check].status == "ok"
    stage.main.sql(damage)
    found = examined(stage)[check]

    assert found.status == status
    assert said in found.message
    assert found.evidence


def test_a_healthy_system_is_told_so(stage: Stage) -> None:
    """With a living worker and a few jobs in different places every check of every day says ok, deployment aside."""
    stage.main.sql("select perdure.make_days(3)")
    worker = stage.worker()
    stage.enqueue(4)
    stage.enqueue(delay=60.0)
    stage.claim(worker, 2)
    found = examined(stage)

    assert {name: each.message for name, each in found.items() if each.status != "ok"} == {}


def test_a_silent_worker_that_nobody_buries_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose beat ran out and that still counts as alive is named with what it holds: nobody is there to
    declare it dead."""
    monkeypatch.setattr(workers, "STALE_WARN_SECONDS", 0.5)
    worker = stage.worker("mailer")
    stage.enqueue(3)
    stage.claim(worker)
    stage.silence(worker)
    found = examined(stage)["workers.heartbeats"]

    assert found.status == "fail"
    assert "they hold 3 jobs" in found.message
    assert found.evidence["workers"][0]["name"] == "mailer"


def test_a_transaction_that_holds_back_vacuum_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that holds an old snapshot is named by its pid and application, with the way to end it and the word
    that VACUUM will not help [DW-184]. Red when only transactions with an id are looked for: this one has none."""
    holder = stage.session()
    holder.sql("set application_name = 'nightly report'")
    holder.sql("begin isolation level repeatable read")
    holder.sql("select count(*) from perdure.job")
    unimpressed = examined(stage)["pg.xmin_horizon"]
    monkeypatch.setattr(horizon, "WARN_SECONDS", -1.0)
    warned = examined(stage)["pg.xmin_horizon"]
    monkeypatch.setattr(horizon, "FAIL_SECONDS", -1.0)
    failed = examined(stage)["pg.xmin_horizon"]

    assert [unimpressed.status, warned.status, failed.status] == ["ok", "warn", "fail"]
    assert f"pg_terminate_backend({holder.pid})" in warned.message
    assert "nightly report" in warned.message
    assert "VACUUM will not help" in warned.message


def test_a_prepared_transaction_holds_back_vacuum_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that was prepared and forgotten is named, although no session shows it any more [DW-184]."""
    monkeypatch.setattr(horizon, "WARN_SECONDS", -1.0)
    other = stage.session()
    other.begin()
    other.sql("insert into perdure.queue (name) values ('forgotten')")
    other.sql("prepare transaction 'forgotten one'")
    found = examined(stage)["pg.xmin_horizon"]

    assert "prepared transaction forgotten one" in found.message
    assert "ROLLBACK PREPARED" in found.message


def test_a_server_that_is_not_for_production_is_told(stage: Stage) -> None:
    """The server of these tests, without fsync and with a superuser, is refused by the checks for a deployment."""
    found = examined(stage, doctor.DEPLOY)

    assert {name: each.status for name, each in found.items() if name.startswith("deploy.")} == {
        "deploy.durability": "fail",
        "deploy.role": "warn",
        "deploy.wire": "ok",
        "deploy.bounds": "warn",
    }


def test_a_queue_that_nothing_bounds_is_told(stage: Stage) -> None:
    """A queue of which nothing is declared is named; one that is unlimited on purpose is, too, and isn't wrong
    [ARC-7]."""
    stage.enqueue(1)
    before = examined(stage, doctor.DEPLOY)["deploy.bounds"]
    for name, said in (("default", {"max_depth": 10}), ("logs", {"max_depth": "unlimited"})):
        options: dict[str, Any] = {"max_depth": None, "max_age": None, "when_full": None, "deadline": None, **said}
        stage.main.run(declare([bounds.rule(name, **options)], "shop"))
    after = examined(stage, doctor.DEPLOY)["deploy.bounds"]

    assert (before.status, before.evidence["undeclared"]) == ("warn", ["default"])
    assert (after.status, after.evidence["unlimited"]) == ("ok", ["logs"])
    assert "unlimited on purpose: logs" in after.message


def _asking(text: str, seconds: float = 2.0) -> Check:
    def examine(subject: Subject) -> Op[list[Finding]]:
        found = yield from rows(statement)
        return [Finding("test.one", "ok", str(found))]

    statement = report("server.settings", dict)
    statement = type(statement)("test.one", text, dict)
    return Check("test.one", "?", examine, seconds)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (_asking("select pg_sleep(20)", seconds=0.05), "statement timeout"),
        (_asking("delete from perdure.ready"), "read-only transaction"),
        (_asking("select pg_read_file('x') from perdure.no_such_table"), "does not exist"),
    ],
    ids=["too slow", "writes", "refused"],
)
def test_what_could_not_be_looked_at_is_skipped_and_never_ok(stage: Stage, check: Check, said: str) -> None:
    """A check that takes too long, that writes, or that is refused is skipped with the reason, and the next one is
    asked all the same. Red without the read-only transaction, the bound on its statements, or a transaction each."""
    stage.enqueue(1)
    found = examined(stage, [check, *doctor.CHECKS])

    assert found["test.one"].status == "skipped"
    assert said in found["test.one"].message
    assert found["jobs.places"].status == "ok"
    assert stage.counts("ready") == 1


def test_a_schema_that_is_behind_is_told_and_nothing_else_is_asked_of_it(stage: Stage) -> None:
    """With a ``pre`` migration pending that is the failure, and checks that read our tables are skipped."""

    def ask(op: Op[Any]) -> Any:
        return stage.main.run(op)

    behind = Subject("", "perdure", [("pre", "0009_pre_more"), ("post", "0010_post_less")])
    found = {each.check: each for each in doctor.examine(behind, ask)}
    ahead = {each.check: each for each in doctor.examine(Subject("", "perdure", [("post", "0010_post_less")]), ask)}

    assert found["schema.current"].status == "fail"
    assert "perdure migrate" in found["schema.current"].message
    assert found["jobs.places"].status == "skipped"
    assert (ahead["schema.current"].status, ahead["jobs.places"].status) == ("warn", "ok")
