"""Log lines that say which job they are about: the handler's own, and those of the worker about one job.

Put ``JobFields`` on a logging handler; the command ``perdure worker`` does. Structured formatters find the fields on
the record; for lines of text there is ``about``, which is empty where no job runs.
"""

from __future__ import annotations

import logging

from ..core import context
from ..jobs.work import Claimed

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s%(about)s"


class JobFields(logging.Filter):
    """Gives each record ``job``, ``generation``, ``attempt``, ``task``, ``key``, ``correlation_id`` (None where none is
    known), ``worker``, and ``about``, all of them in brackets. It drops nothing. ``worker``: the name of this one."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields: of the job that a line was said to be about, else of the one whose handler writes it."""
        said = getattr(record, "claimed", None)
        job = said if said is not None else context.frame()
        fields = _of(job) if isinstance(job, Claimed) else dict.fromkeys(_FIELDS)
        record.__dict__.update(fields, worker=self._worker)
        known = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        record.about = f" [{known} worker={self._worker}]" if known else ""
        return True


_FIELDS = ("job", "generation", "attempt", "task", "key", "correlation_id")


def _of(job: Claimed) -> dict[str, object]:
    key = None if job.extras is None else job.extras.key
    return dict(
        zip(_FIELDS, (job.id, job.generation, job.attempt, job.task, key, job.envelope.correlation_id), strict=True)
    )
