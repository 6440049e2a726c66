"""Follow-ups as values: built by chaining, bounded, and read back from their stored form as they were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure.core import limits
from perdure.core.backoff import Retry
from perdure.core.errors import InvalidOption
from perdure.jobs.model import JobSpec, chain
from perdure.jobs.stored import revived, stored
from perdure.jobs.unique import Unique

JOB = JobSpec(task="work", payload='{"n": 1}')
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"queue": "mail", "key": "k", "priority": 0, "tags": ("a", "b"), "at_most_once": True},
    {"delay": 1.5, "expires": timedelta(days=2), "timeout": timedelta(minutes=1)},
    {"run_at": datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC), "expires": datetime(2031, 1, 1, tzinfo=UTC)},
    {"retry": Retry(max_attempts=7, delays=(1.0, 2.0), jitter="none"), "context": {"tenant": "acme"}},
    {"unique": Unique("k", scope="queue", lifetime=3_600), "on_conflict": "raise"},
    {"unique": True},
)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_stored_job_is_read_back_as_it_was(options: dict[str, Any]) -> None:
    """Every option, and its follow-ups, come back; arguments keep each digit, however many there are. Red when an
    option is left out of the stored form."""
    spec = JobSpec(task="work", payload='{"n": 123456789012345678901234567890.10}').options(**options)
    tree = JOB.then(spec.then(JOB)).on_death(spec, JOB)

    assert revived(stored(spec)) == spec
    assert revived(stored(tree)) == tree


def test_every_option_of_a_job_has_a_stored_form() -> None:
    """An option that is added later must be in this test, and so in the stored form."""
    tried = {name for options in OPTIONS for name in options} | {"task", "payload", "version", "follow_ups"}

    assert set(JobSpec.__struct_fields__) - tried == set()


def test_a_stored_job_of_a_later_version_is_refused_by_name() -> None:
    """What this version doesn't know isn't dropped: the job would run otherwise than was asked for."""
    with pytest.raises(InvalidOption, match="moon_phase: is not an option that this version knows"):
        revived('{"task": "work", "payload": {}, "moon_phase": "full"}')


def test_follow_ups_are_bounded_and_never_their_own_ancestor() -> None:
    """A job may follow itself once more, but is never part of a circle, because each is made of finished ones; too
    many, too deep and too long are refused, as is what is no job."""
    twice = JOB.then(JOB)
    assert [each.job for each in twice.follow_ups] == [JOB]
    assert chain(JOB, JOB, JOB) == JOB.then(JOB.then(JOB))

    with pytest.raises(InvalidOption, match="follow_ups: are 101 in all"):
        JOB.then(*[JOB] * (limits.FOLLOW_UPS_MAX + 1))
    with pytest.raises(InvalidOption, match="follow_ups: are 51 in a row"):
        chain(*[JOB] * (limits.FOLLOW_UPS_DEPTH_MAX + 2))
    long = JobSpec(task="work", payload='{"text": "' + "x" * 600_000 + '"}')
    with pytest.raises(InvalidOption, match=r"follow_ups: have 1,200,\d+ characters"):
        JOB.then(long, long)
    with pytest.raises(InvalidOption, match="follow_ups: got int"):
        JOB.then(7)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="chain: is empty"):
        chain()
    with pytest.raises(InvalidOption, match="follow_ups: is not an option of a job"):
        JOB.options(follow_ups=())
