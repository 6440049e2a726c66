"""Where a child process writes what its handler keeps."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.app.books import OwnBooks
from perdure.core.errors import ConnectionLost
from perdure.core.op import Op
from perdure.jobs.saves import Report


def test_a_report_that_is_lost_is_no_failure_of_its_job(caplog: pytest.LogCaptureFixture) -> None:
    """When the server can't be reached, what a handler says about its progress is lost and told in the log; the handler
    goes on, as it does where it runs in the worker. Red when a report raises."""

    def lost(op: Op[Any]) -> Any:
        raise ConnectionLost("the connection is gone")

    OwnBooks(lost, ()).report(Report(17, 0, 1.0, 2.0, None))

    assert "a report of job 17 is lost" in caplog.text
