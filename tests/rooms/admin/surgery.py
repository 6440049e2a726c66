"""What the tests of this room share: an examination of the stage's database, as the command makes it, and jobs that
have ended, or are runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perdure.admin import doctor
from perdure.admin.model import Check, Finding, Subject
from perdure.core.op import Op
from tests.rooms.jobs.stage import Stage, end


def examined(stage: Stage, checks: Sequence[Check] = doctor.CHECKS) -> dict[str, Finding]:
    """Every finding, by its check's name. A check is given time enough: one that is held up for two seconds would be
    skipped. One that is to take too long asks for less than any real one, and gets that."""

    def ask(op: Op[list[Finding]]) -> list[Finding]:
        with stage.main.conn.transaction():
            return stage.main.run(op)

    given = [check if check.seconds < 1.0 else replace(check, seconds=60.0) for check in checks]
    found = list(doctor.examine(Subject(stage.db.url, stage.db.schema), ask, given))
    assert len({each.check for each in found}) == len(found), "a check's name stands for one finding"
    return {each.check: each for each in found}


def ended(stage: Stage, verdict: str, **details: object) -> int:
    """A job whose one attempt has ended so."""
    worker, job = stage.worker(), stage.enqueue()[0]
    stage.settle([end(stage.claim(worker)[0], verdict, **details)], worker)  # type: ignore[arg-type]
    return job


def is_run(stage: Stage, job: int, id: str = "checkout:1", trouble: str | None = None) -> int:
    """The job, which is a run's now."""
    say = "insert into perdure.run (job, id, name, version, trouble) values (%s, %s, 'checkout', 1, %s)"
    stage.main.sql(say, [job, id, trouble])
    return job
