"""Fences of records: only who holds the run may write what it has done, and each of its steps stands once."""

from __future__ import annotations

import psycopg
import pytest

from perdure.core.errors import OwnershipLost
from perdure.jobs.ops.settle import settle
from perdure.jobs.work import Claimed, End
from perdure.workflows.model import Entry, Recorded, RunSpec
from perdure.workflows.ops import inbox
from perdure.workflows.ops.after import close, follow, nudge, sweep
from perdure.workflows.ops.control import note
from perdure.workflows.ops.record import load, record
from perdure.workflows.ops.start import spawn, start
from tests.conftest import Database
from tests.rooms.jobs.stage import Member, Session, Stage, end

SPEC = RunSpec(name="shop", version=1, payload="{}")


@pytest.fixture
def stage(db: Database) -> Stage:
    """Real sessions on a migrated database of the test's own."""
    return Stage(db)


def _claimed(stage: Stage, *ids: str) -> tuple[Member, list[int]]:
    member = stage.worker()
    jobs = [started.job for started in stage.main.run(start(SPEC, ids or ("r",), ["{}"] * max(len(ids), 1)))]
    assert [job.id for job in stage.claim(member)] == jobs
    return member, jobs


def _step(run: int, generation: int = 0, name: str = "a", seq: int = 1, outcome: str = "1") -> Entry:
    return Entry(run, generation, name, seq, "step", "done", 1, 0.0, 0.0, outcome=outcome)


def test_a_stale_owner_records_nothing(stage: Stage) -> None:
    """What was rescued from a worker can't be recorded by it any more, and it can start no child: both are refused to
    it alone, and its mates' entries of the same write are written. Nor does it say anything of the run, or answer for
    it [DW-193, DW-192]. Red without the generation in record, in note or in answer."""
    member, [lost, kept] = _claimed(stage, "lost", "kept")
    asked = stage.main.run(inbox.update("lost", "judge", "1"))
    assert isinstance(asked, int)
    stage.main.sql("update perdure.job set generation = 1 where id = %s", [lost])
    refused, written = stage.main.run(record([_step(lost), _step(kept)]))
    stage.main.run(note(lost, 0, {"phase": "late"}))
    stage.main.run(inbox.answer(lost, 0, asked, None, "1"))
    answer = stage.main.run(inbox.answered(asked))

    assert isinstance(refused, OwnershipLost)
    assert isinstance(written, Recorded)
    with pytest.raises(OwnershipLost), stage.main.conn.transaction():
        stage.main.run(spawn(Entry(lost, 0, "child c", 1, "child", "waiting"), "c", SPEC, "cancel"))
    assert stage.main.sql("select run, name from perdure.step") == [(kept, "a")]
    assert stage.counts("run") == 2
    assert stage.main.sql("select attributes::text from perdure.run where job = %s", [lost]) == [(None,)]
    assert answer is not None
    assert not answer.answered
    assert member.id


def test_a_record_in_flight_holds_up_the_rescue_of_its_run_alone(stage: Stage) -> None:
    """While a record isn't committed its run can't be rescued, so whoever takes the run over sees the record; its mates
    are rescued meanwhile [DW-193]. Red when the record doesn't lock the job."""
    member, [slow, other] = _claimed(stage, "slow", "other")
    writer = stage.session()
    writer.begin()
    writer.run(record([_step(slow)]))
    stage.lose(member)

    assert stage.rescue() == 1
    writer.commit()
    assert stage.rescue() == 1
    [history] = stage.main.run(load([slow]))
    assert [step.name for step in history.steps] == ["a"]  # type: ignore[union-attr]
    assert other


def test_a_step_stands_once(stage: Stage) -> None:
    """A second record of a step that has ended changes nothing, as a repeated write of an unknown outcome must; and the
    database refuses a second row whatever the code says [DW-191]. Red without the primary key."""
    _, [run] = _claimed(stage)
    stage.main.run(record([_step(run, outcome="1")]))
    assert isinstance(stage.main.run(record([_step(run, outcome="2")]))[0], Recorded)

    assert stage.main.sql("select outcome::text from perdure.step") == [("1",)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        stage.main.sql(
            "insert into perdure.step (run, name, seq, kind, state, attempt) values (%s, 'a', 9, 'step', 'begun', 1)",
            [run],
        )


def _wait(session: Session, member: Member, run: Claimed) -> None:
    """The run goes to wait for the signal ``paid``, in the session's open transaction."""
    assert session.run(settle([End(run, "waiting", 0, 0.0, then=follow)], member.id)) == []


def _holding(stage: Stage) -> tuple[Member, Claimed]:
    member = stage.worker()
    [started] = stage.main.run(start(SPEC, ["r"], ["{}"]))
    [job] = stage.claim(member)
    stage.main.run(record([Entry(started.job, 0, "signal paid", 1, "signal", "waiting", detail="paid")]))
    return member, job


def test_a_signal_sent_before_its_run_goes_to_wait_wakes_it_at_once(stage: Stage) -> None:
    """A signal is committed after its run has recorded that it wants it, and before the run has gone to wait; there it
    is ready again at once [DW-196]. Red when a run that goes to wait doesn't look at its inbox."""
    member, run = _holding(stage)
    assert stage.main.run(inbox.signal("r", "paid", "1", None)) == "sent"
    waiter = stage.session()
    waiter.begin()
    _wait(waiter, member, run)
    waiter.commit()

    assert stage.places()[run.id] == "ready"


@pytest.mark.parametrize("first", ["sender", "waiter"])
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_neither_of_sender_and_waiter_misses_the_other(stage: Stage, first: str, ends: str) -> None:
    """A signal is sent while its run goes to wait, in both orders of beginning and whether the sender commits or not:
    afterwards the run is ready, or wakes by itself in a moment, or rightly waits; and it never waits for the sender
    [DW-196, DW-199]. Red without the lock of either side, or when both look in the same statement."""
    member, run = _holding(stage)
    sender, waiter = stage.session(), stage.session()
    sender.begin()
    waiter.begin()
    if first == "sender":
        assert sender.run(inbox.signal("r", "paid", "1", None)) == "sent"
        _wait(waiter, member, run)
        waiter.commit()
        sender.sql(ends)
    else:
        _wait(waiter, member, run)
        sending = sender.start(inbox.signal("r", "paid", "1", None))
        stage.blocked(sender, waiter)
        waiter.commit()
        assert sending.result() == "sent"
        sender.sql(ends)
    place = stage.places()[run.id]
    soon = stage.main.sql("select wake_at < clock_timestamp() + interval '1 s' from perdure.waiting")
    if first == "sender":
        assert (place, soon) == ("waiting", [(True,)])
    else:
        assert (place, soon) == (("ready", []) if ends == "commit" else ("waiting", [(None,)]))


def test_a_waiting_row_that_somebody_has_locked_is_woken_by_the_sweep(stage: Stage) -> None:
    """Two senders to one waiting run: the second isn't held up by the first, whose transaction stays open, and when the
    first rolls back the sweep wakes the run for the second. Red without the nudge."""
    member, run = _holding(stage)
    with stage.main.conn.transaction():
        _wait(stage.main, member, run)
    slow = stage.session()
    slow.begin()
    assert slow.run(inbox.signal("r", "paid", "1", None)) == "sent"
    assert stage.main.run(inbox.signal("r", "paid", "2", None)) == "sent"
    assert stage.places()[run.id] == "waiting"
    slow.rollback()
    assert stage.main.run(sweep()) == 1

    assert stage.places()[run.id] == "ready"
    assert stage.main.sql("select payload::text from perdure.signal") == [("2",)]


def test_a_nudge_isnt_swallowed_by_one_that_is_just_being_forgotten(stage: Stage) -> None:
    """A run is nudged while a load that isn't committed forgets an older nudge: the later one waits for nobody, and
    stays. Red with a unique key and ``on conflict do nothing``."""
    _, run = _holding(stage)
    stage.main.run(nudge([run.id]))
    loading = stage.session()
    loading.begin()
    loading.run(load([run.id]))
    stage.main.run(nudge([run.id]))
    loading.commit()

    assert stage.main.sql("select id from perdure.nudge") == [(run.id,)]


@pytest.mark.parametrize("how", ["buried", "discarded"])
def test_a_parent_hears_of_a_child_that_somebody_else_has_ended(stage: Stage, how: str) -> None:
    """A run whose job was buried by a rescue, or ended by SQL alone, ends as such: it has its end, its own children are
    asked to end, and the parent that waits for it is woken, once. Red when only the worker that ends a run says so."""
    member = stage.worker()
    [parent] = [started.job for started in stage.main.run(start(SPEC, ["parent"], ["{}"]))]
    [claimed] = stage.claim(member)
    child = stage.main.run(spawn(Entry(parent, 0, "child c", 1, "child", "waiting"), "c", SPEC, "cancel"))
    stage.settle([end(claimed, "waiting")], member)
    [grandchild] = [run.job for run in stage.main.run(start(SPEC, ["g"], ["{}"], parent=child, close="cancel"))]
    if how == "buried":
        stage.main.sql("update perdure.job set rescues = 9 where id = %s", [child])
        other = stage.worker("other")
        stage.claim(other, 1)
        stage.lose(other)
        stage.rescue()
    else:
        stage.main.sql("delete from perdure.ready where id = %s", [child])
        stage.main.sql(
            "with e as (delete from perdure.job where id = %s returning *) insert into perdure.history (id, "
            "created_at, finished_at, lane, generation, attempt, rescues, outcome, task, payload) select id, "
            "created_at, now(), lane, generation, attempt, rescues, 'discarded', task, payload from e",
            [child],
        )

    def closed() -> int:
        with stage.main.conn.transaction():
            return stage.main.run(close(all=how == "discarded"))

    assert stage.places()[parent] == "waiting"
    assert [closed(), closed()] == [1, 0]
    assert stage.places()[parent] == "ready"
    assert stage.main.sql("select job from perdure.run where ended_at is not null") == [(child,)]
    assert stage.main.sql("select id from perdure.cancel_request") == [(grandchild,)]
