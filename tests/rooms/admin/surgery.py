"""What the doctor's tests share: an examination of the stage's database, as the command makes it."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.admin import doctor
from perdure.admin.model import Check, Finding, Subject
from perdure.core.op import Op
from tests.rooms.jobs.stage import Stage


def examined(stage: Stage, checks: Sequence[Check] = doctor.CHECKS) -> dict[str, Finding]:
    """Every finding, by its check's name."""

    def ask(op: Op[list[Finding]]) -> list[Finding]:
        with stage.main.conn.transaction():
            return stage.main.run(op)

    found = list(doctor.examine(Subject(stage.db.url, stage.db.schema), ask, checks))
    assert len({each.check for each in found}) == len(found), "a check's name stands for one finding"
    return {each.check: each for each in found}
