"""Explain: each reason for which a job stands where it stands has its own words, what comes next, and what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import partial
from typing import get_args, get_type_hints

import pytest

from perdure.admin.explain import _PLACES, Explanation, explain
from perdure.admin.reasons import DEAD, HELD
from perdure.app.client.verbs import FIXES
from perdure.core.backoff import GiveUp
from perdure.jobs.bounds import Rule
from perdure.jobs.budget import CHILDLESS, PUT_OFF, UNSERVED
from perdure.jobs.ops import control, queues
from perdure.jobs.ops.admission import declare
from perdure.jobs.view import Place
from perdure.jobs.work import Verdict
from tests.rooms.admin.surgery import ended, is_run
from tests.rooms.jobs.stage import Stage, end
from tests.tidy import source

Arrange = Callable[[Stage], int]
CASES: dict[str, Arrange] = {}
VERDICTS = set(get_args(Verdict))
"""Words of the same statements that say how an attempt ended, and not why a job is dead."""


def case(arrange: Arrange) -> Arrange:
    """A way for a job to wait, under the code of its explanation. Returns the job."""
    CASES[arrange.__name__.removeprefix("_")] = arrange
    return arrange


@case
def _no_worker(stage: Stage) -> int:
    return stage.enqueue()[0]


@case
def _paused(stage: Stage) -> int:
    stage.worker()
    stage.main.run(queues.pause("default"))
    return stage.enqueue()[0]


@case
def _next(stage: Stage) -> int:
    stage.worker()
    stage.enqueue(2, priority=9)
    return stage.enqueue()[0]


@case
def _behind_others(stage: Stage) -> int:
    stage.worker()
    stage.enqueue(2)
    job = stage.enqueue(priority=6)[0]
    stage.enqueue(3, priority=6)
    return job


@case
def _expired(stage: Stage) -> int:
    stage.worker()
    job = stage.enqueue(expires=60.0)[0]
    stage.main.sql("update perdure.job set expires_at = clock_timestamp() - interval '1 s'")
    return job


@case
def _delayed(stage: Stage) -> int:
    stage.worker()
    return stage.enqueue(delay=3600.0)[0]


@case
def _overdue(stage: Stage) -> int:
    job = stage.enqueue(delay=3600.0)[0]
    stage.main.sql(
        "with s as (update perdure.scheduled set run_at = clock_timestamp() - interval '1 min' returning run_at) "
        "update perdure.job set run_at = s.run_at from s"
    )
    return job


@case
def _queue_full(stage: Stage) -> int:
    job = stage.enqueue(delay=3600.0)[0]
    stage.main.sql(
        "with s as (update perdure.scheduled set run_at = perdure.line(%s) returning run_at) "
        "update perdure.job set run_at = s.run_at from s",
        [stage.queue],
    )
    return job


@case
def _put_off(stage: Stage) -> int:
    stage.main.run(declare([Rule(name="default", max_depth=1, when_full="delay")], "a"))
    stage.enqueue()
    return stage.enqueue()[0]


@case
def _put_off_by_sql(stage: Stage) -> int:
    _put_off(stage)
    [(job,)] = stage.main.sql("select perdure.enqueue_v1('work', '{}')")
    return int(job)


@case
def _redriven(stage: Stage) -> int:
    job = ended(stage, "dead", reason="exhausted", text="it failed")
    assert stage.main.run(control.redrive_some([job], by="alice", rate=0.001, before=1)) == [job]
    return job


@case
def _waiting(stage: Stage) -> int:
    job = stage.enqueue()[0]
    stage.claim(stage.worker())
    stage.main.sql("delete from perdure.lease")
    stage.main.sql("insert into perdure.waiting (id) values (%s)", [job])
    is_run(stage, job)
    stage.main.sql(
        "insert into perdure.step (run, name, seq, kind, state, attempt, detail) "
        "values (%s, 'shipped', 1, 'signal', 'waiting', 0, 'shipped')",
        [job],
    )
    return job


@case
def _waiting_for_nothing(stage: Stage) -> int:
    job = _waiting(stage)
    stage.main.sql("delete from perdure.step")
    return job


@case
def _run_paused(stage: Stage) -> int:
    job = _waiting(stage)
    stage.main.sql("update perdure.run set paused_at = clock_timestamp()")
    return job


@case
def _retrying(stage: Stage) -> int:
    return ended(stage, "retry")


@case
def _snoozed(stage: Stage) -> int:
    return ended(stage, "snooze")


@case
def _no_connection(stage: Stage) -> int:
    return ended(stage, "snooze", text=f"{UNSERVED}\nServerUnavailable: server: no connection within 10 s")


@case
def _no_child(stage: Stage) -> int:
    return ended(stage, "snooze", text=f"{CHILDLESS}\na child process can't import shop:work")


@case
def _retry_budget(stage: Stage) -> int:
    return ended(stage, "snooze", text=PUT_OFF)


@case
def _retry_budget_of_a_suspect(stage: Stage) -> int:
    return _deferred(stage, PUT_OFF)


@case
def _suspect(stage: Stage) -> int:
    return _deferred(stage, "no child was free to run it alone")


def _deferred(stage: Stage, text: str) -> int:
    lost, job = stage.worker(), stage.enqueue()[0]
    stage.claim(lost)
    stage.lose(lost)
    assert stage.rescue() == 1
    worker = stage.worker()
    stage.settle([end(stage.claim(worker)[0], "deferred", text=text, delay=60.0)], worker)
    return job


@case
def _running(stage: Stage) -> int:
    job = stage.enqueue()[0]
    stage.claim(stage.worker())
    return job


@case
def _cancelling(stage: Stage) -> int:
    job = _running(stage)
    assert stage.main.run(control.cancel(job, "not wanted")) == "requested"
    return job


@case
def _worker_silent(stage: Stage) -> int:
    job, worker = stage.enqueue()[0], stage.worker()
    stage.claim(worker)
    stage.silence(worker)
    return job


@case
def _worker_gone(stage: Stage) -> int:
    job, worker = stage.enqueue()[0], stage.worker()
    stage.claim(worker)
    assert stage.lose(worker)
    return job


for _reason in HELD:
    CASES[_reason] = partial(ended, verdict="held", reason=_reason, key="work")
for _reason in DEAD:
    CASES[_reason] = partial(ended, verdict="dead", reason=_reason, text="it failed")


@pytest.mark.parametrize("code", CASES)
def test_each_reason_is_told_apart_and_said_what_to_do_about(stage: Stage, code: str) -> None:
    """However a job has come to wait, its explanation names the reason, what happens next, who holds it, and what a
    person has to do where nothing happens by itself. Red when a reason is taken for another."""
    job = CASES[code](stage)
    found = stage.main.run(explain(job))

    assert found is not None
    assert found.code == code.removesuffix("_by_sql").removesuffix("_of_a_suspect")
    assert all((found.because, found.next, found.evidence))
    assert (found.holder is not None) == (found.place == "leased")
    if found.place in ("dead", "held") or code in ("paused", "no_worker", "overdue", "waiting_for_nothing"):
        assert found.fix
    assert "{" not in f"{found.because}{found.next}{found.fix}"


def test_what_may_have_happened_is_found_out_before_it_is_redriven(stage: Stage) -> None:
    """Of a job that may have done its work, none is said to be mended by a redrive, or to whoever has waited for it by
    a retry: that would do it twice. Red when each dead job gets the same advice, and when a reason is added for one of
    the two audiences alone."""
    fixes = {
        reason: str(found.fix)
        for reason in DEAD
        if (found := stage.main.run(explain(ended(stage, "dead", reason=reason, text="it failed")))) is not None
    }

    assert fixes["needs_review"].startswith("find out whether it happened")
    unsure = {reason for reason, fix in fixes.items() if not fix.startswith("mend the cause")}
    assert unsure == FIXES.keys() == {"needs_review", "bad_result", "unsettleable"}


@pytest.mark.parametrize("cause", ["success", "death"])
def test_what_is_still_to_follow_is_said(stage: Stage, cause: str) -> None:
    """A job that has ended, and whose follow-up waits for room, isn't said to be all there is; one that only follows
    the other end isn't told. Red when only what can't be enqueued is told."""
    job = ended(stage, "completed") if cause == "success" else ended(stage, "dead", reason="exhausted")
    keep = "insert into perdure.follow_up (job, number, cause, spec) values (%s, %s, %s, %s)"
    stage.main.sql(keep, [job, 1, "death" if cause == "success" else "success", '{"task": "other"}'])
    alone = stage.main.run(explain(job))
    stage.main.sql(keep, [job, 2, cause, '{"task": "bill", "queue": "narrow"}'])
    followed = stage.main.run(explain(job))

    assert alone is not None
    assert followed is not None
    assert "follow" not in alone.next
    assert "what is to follow it (bill in narrow) is enqueued once its queue has room" in followed.next


def test_a_job_whose_enqueuer_wanted_it_later_is_not_said_to_be_put_off(stage: Stage) -> None:
    """In a queue that puts off what it can't take, a job with a delay of its own is explained by that, and one that has
    been tried since by its retry. Red when the queue's rule is taken for the job's reason."""
    put_off, worker = _put_off(stage), stage.worker()
    wanted = stage.main.run(explain(stage.enqueue(delay=3600.0)[0]))
    stage.main.run(declare([Rule(name="default", max_depth=100, when_full="delay")], "a"))
    stage.due()
    stage.settle([end(each, "retry") for each in stage.claim(worker)], worker)
    tried = stage.main.run(explain(put_off))

    assert [each.code for each in (wanted, tried) if each is not None] == ["delayed", "retrying"]


def test_put_offs_are_told_by_who_put_them_off(stage: Stage) -> None:
    """A snooze is told with its handler's reason, a suspect with what it waits for, and a checkpoint that has no
    upgrade isn't said to be of a later version. Red when explain names the place and guesses the rest."""
    snoozed = stage.main.run(explain(ended(stage, "snooze", text="the shop is closed")))
    suspect = stage.main.run(explain(_suspect(stage)))
    parked = stage.main.run(explain(ended(stage, "held", reason="checkpoint_version", key="work#1")))

    assert snoozed is not None
    assert suspect is not None
    assert parked is not None
    assert "its handler asked to run later (the shop is closed)" in snoozed.because
    assert "no child was free" in suspect.because
    assert "lacks an upgrade" in parked.because
    assert "upgrade_checkpoint" in str(parked.fix)


@pytest.mark.parametrize("gone", [True, False])
def test_what_a_lost_worker_must_not_have_run_twice_is_said_to_go_to_review(stage: Stage, gone: bool) -> None:
    """A job declared ``at_most_once`` whose worker is lost isn't said to be taken back as any other. Red when explain
    doesn't ask for it."""
    job, worker = stage.enqueue(at_most_once=True)[0], stage.worker()
    stage.claim(worker)
    stage.silence(worker)
    if gone:
        stage.lose(worker)
    found = stage.main.run(explain(job))

    assert found is not None
    assert (found.code, "to be reviewed" in found.next) == ("worker_gone" if gone else "worker_silent", True)


def test_a_job_that_waits_is_told_of_slots_that_are_lost(stage: Stage) -> None:
    """Slots of its queue that handlers keep after their jobs have ended are told to whoever asks why a job waits, the
    first in line or not; those of other queues aren't. Red when explain doesn't ask for them."""
    worker, (first, second) = stage.worker(), stage.enqueue(2)
    beat = "update perdure.worker set gauges = %s::text::json where id = %s"
    told = []
    for queue in ("default", "other"):
        stage.main.sql(beat, [f'{{"queues": {{"{queue}": {{"slots": 2, "busy": 2, "lost": 2}}}}}}', worker.id])
        told += [stage.main.run(explain(job)) for job in (first, second)]

    assert [each and each.code for each in told] == ["next", "behind_others"] * 2
    assert [each and "have ended: 2" in each.because for each in told] == [True, True, False, False]
    assert [each and "workers.lost" in (each.fix or "") for each in told] == [True, True, False, False]


def test_every_place_has_an_explanation() -> None:
    """There is no place of a job that explain has no words for. Red when a place is added and not explained."""
    assert set(get_args(Place)) == _PLACES.keys()


def test_what_has_ended_and_what_never_was(stage: Stage) -> None:
    """A job in history is explained by its outcome; of a job that doesn't exist there is nothing to say."""
    job = ended(stage, "completed")
    found = stage.main.run(explain(job))

    assert isinstance(found, Explanation)
    assert (found.place, found.code, found.fix) == ("history", "completed", None)
    assert stage.main.run(explain(job + 1)) is None


def test_every_reason_of_the_code_has_an_explanation() -> None:
    """No job can be parked, or die, for a reason that explain has no words for: those in the code are those in its
    tables. Red when a reason is added and not explained."""
    given: dict[str, set[str]] = {"held": set(), "dead": set(get_args(get_type_hints(GiveUp)["reason"]))}
    for path in source.python_files("src"):
        for node in ast.walk(source.tree(path)):
            if not (isinstance(node, ast.Call) and source.dotted(node.func) == "End"):
                continue
            words = [each.value for each in node.args if isinstance(each, ast.Constant)]
            reasons = [each.value for each in node.keywords if each.arg == "reason"]
            for verdict in given.keys() & set(words):
                given[verdict] |= {str(each.value) for each in reasons if isinstance(each, ast.Constant)}
    for path in source.STATEMENTS.rglob("*.sql"):
        if "insert into perdure.dead" in (text := path.read_text()):
            given["dead"] |= set(re.findall(r"(?:then|id,) '(\w+)'", text)) - VERDICTS - {"suspect"}

    assert given["held"] == HELD.keys()
    assert given["dead"] == DEAD.keys()
