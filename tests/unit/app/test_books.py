"""Where a child process writes what its handler keeps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from perdure.app.books import OwnBooks, Versions
from perdure.app.saving import Saving
from perdure.core.errors import ConnectionLost
from perdure.core.op import Op
from perdure.jobs.saves import Report, Save
from perdure.jobs.work import Claimed, Lease


def test_a_report_that_is_lost_is_no_failure_of_its_job(caplog: pytest.LogCaptureFixture) -> None:
    """When the server can't be reached, what a handler says about its progress is lost and told in the log; the handler
    goes on, as it does where it runs in the worker. Red when a report raises."""

    def lost(op: Op[Any]) -> Any:
        raise ConnectionLost("the connection is gone")

    OwnBooks(lost, ()).report(Report(17, 0, 1.0, 2.0, None))

    assert "a report of job 17 is lost" in caplog.text


class Noting:
    """Books that keep what is reported in a list."""

    versions: Versions = ()

    def __init__(self) -> None:
        self.said: list[str | None] = []

    def save(self, entry: Save) -> bool:
        raise AssertionError("nothing is saved")

    async def asave(self, entry: Save) -> bool:
        raise AssertionError("nothing is saved")

    def report(self, entry: Report) -> None:
        self.said.append(entry.message)


def test_what_a_report_says_fails_no_job() -> None:
    """A message is for people, and often a line of somebody's file: an empty one, and one that Postgres couldn't keep,
    are reported as well as can be. Red when it is checked as an option is."""
    books = Noting()
    context = Saving(Claimed(1, 0, Lease(1, 1), 1, "t", msgspec.Raw(b"{}"), datetime.now(UTC)), books)
    for message in ("", "a\0b", "\udcff", "x" * 600):
        context.progress(1, 4, message)

    assert books.said == [None, "a\\0b", "\\udcff", "x" * 500]
