"""What the verbs decide without a database: what a look at an awaited job means, and when to look again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from perdure import App
from perdure.app.client.verbs import PAUSE_SECONDS_MAX, Page, Waiting, spec, specs
from perdure.core.endings import Permanent
from perdure.core.errors import InvalidOption, JobCancelled, JobExpired, JobFailed, WaitTimeout
from perdure.jobs.rules import describe
from perdure.jobs.view import Job, gist

app = App("shop")


@app.task
def count(items: list[str]) -> int:
    """Count them."""
    return len(items)


def _job(**known: Any) -> Job:
    blank: dict[str, Any] = dict.fromkeys(Job.__dataclass_fields__)
    facts = {"id": 1, "place": "ready", "tags": (), "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    return Job(**{**blank, **facts, **known})


def _described(error: Exception) -> str:
    """What a worker keeps of it, once it was raised."""
    with pytest.raises(type(error)) as caught:
        raise error
    return describe(caught.value)


def test_a_wait_looks_ever_more_rarely_and_never_past_its_end() -> None:
    """The pauses grow to a bound, are spread by the dice, and the last one ends with the wait, which then says where
    the job stands and who explains that. Red when whoever waits for a parked job is told to see to a worker."""
    waiting, now = Waiting(1, 10.0, 0.0), 0.0
    pauses: list[float] = []
    while now < 10.0:
        pause = waiting.pause(_job(), now, 0.5)
        assert pause is not None
        pauses.append(pause)
        now += pause

    assert pauses[0] < 0.02
    assert max(pauses) == pytest.approx(PAUSE_SECONDS_MAX)
    assert len(pauses) < 50
    assert now == pytest.approx(10.0)
    with pytest.raises(WaitTimeout, match=r"^job 1: hadn't ended after 10 s, and stands in ready; .* explain 1"):
        waiting.pause(_job(), now, 0.5)
    with pytest.raises(WaitTimeout, match=r"stands in held \(unknown_task\);"):
        waiting.pause(_job(place="held", reason="unknown_task"), now, 0.5)
    assert Waiting(1, None, 0.0).pause(_job(), 1e9, 0.0) != Waiting(1, None, 0.0).pause(_job(), 1e9, 0.9)


def test_a_wait_ends_as_its_job_does() -> None:
    """A completed job ends the wait; any other end is an error that says what happened, why, and what helps."""
    waiting = Waiting(1, None, 0.0)

    assert waiting.pause(_job(place="history", outcome="completed"), 0.0, 0.0) is None
    with pytest.raises(JobCancelled, match="was cancelled: not wanted"):
        waiting.pause(_job(place="history", outcome="cancelled", error="not wanted"), 0.0, 0.0)
    with pytest.raises(JobExpired, match="expired before it was started"):
        waiting.pause(_job(place="history", outcome="expired"), 0.0, 0.0)
    text = f"{_described(ValueError('no'))}\nattempt 5 of 5 failed"
    told = r"is dead \(exhausted\): ValueError: no; attempt 5 of 5 failed; .*jobs.retry\(1\)"
    with pytest.raises(JobFailed, match=told) as caught:
        waiting.pause(_job(place="dead", reason="exhausted", error=text), 0.0, 0.0)
    assert (caught.value.reason, caught.value.job_id, caught.value.error) == ("exhausted", 1, text)
    for reason, fix in (
        ("worker_lost", "mend"),
        ("needs_review", "find out whether"),
        ("bad_result", "its work is done"),
    ):
        with pytest.raises(JobFailed, match=rf"is dead \({reason}\); {fix}"):
            waiting.pause(_job(place="dead", reason=reason), 0.0, 0.0)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, None),
        ("", None),
        (" \n", None),
        ("expired before it started", "expired before it started"),
        (_described(KeyError("order")), "KeyError: 'order'"),
        (f"{_described(KeyError('order'))}\nattempt 1 of 1 failed", "KeyError: 'order'; attempt 1 of 1 failed"),
        (_described(OSError("one\ntwo")) + "\nattempt 1 of 1 failed", "OSError: one; attempt 1 of 1 failed"),
        (f"{describe(Permanent('no such order'))}\ngave up", "Permanent: no such order; gave up"),
    ],
)
def test_the_gist_of_an_error_is_what_was_raised_and_what_was_decided(error: str | None, told: str | None) -> None:
    """The exception's own last line and the verdict's sentence are told, without a line of code between them."""
    assert gist(error) == told


@pytest.mark.parametrize("given", [count, None, "count", count.function, [count.job([])]])
def test_what_is_no_job_is_refused(given: Any) -> None:
    """A task, its name or its function is no job, and the error says what is."""
    with pytest.raises(InvalidOption) as caught:
        spec(given, {})
    assert caught.value.field == "job"
    assert "job(…)" in str(caught.value.fix)

    with pytest.raises(InvalidOption) as caught:
        specs([count.job([]), given])
    assert caught.value.field == "jobs[1]"


@pytest.mark.parametrize("given", [count.job([]), None, 5])
def test_what_is_no_list_of_jobs_is_refused(given: Any) -> None:
    """One job where a list belongs: the error says what to give."""
    with pytest.raises(InvalidOption, match=r"^jobs: is no list of jobs; give a list"):
        specs(given)


@pytest.mark.parametrize("id", [0, -1, True, "1", 2**63, None])
def test_what_is_no_id_is_refused(id: Any) -> None:
    """An id is a positive number that a bigint holds."""
    with pytest.raises(InvalidOption, match=r"^id: "):
        Waiting(id, None, 0.0)


def test_a_page_is_a_sequence() -> None:
    """A page is read like a tuple, and knows where the next one begins."""
    page = Page([3, 2, 1], 1)

    assert (list(page), page[0], page[1:], len(page), page.next) == ([3, 2, 1], 3, (2, 1), 3, 1)
