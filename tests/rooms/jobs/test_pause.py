"""A pause and a resume of one job at the same moment."""

from __future__ import annotations

import pytest

from perdure.jobs.ops.pause import pause, resume, sweep_pauses
from tests.rooms.jobs.stage import Stage, end


@pytest.mark.parametrize("outcome", ["commit", "rollback"])
def test_a_sweep_leaves_alone_what_is_just_being_resumed(stage: Stage, outcome: str) -> None:
    """A sweep that comes while a resume hasn't committed yet doesn't set the job aside: the resume forgets the pause of
    a job that isn't held, and nobody would let it go on again. If the resume is rolled back, the next sweep does
    [PAT-7]. Found by the simulator (seed 988972514). Red when the sweep doesn't lock the pause it acts on."""
    (id,) = stage.enqueue()
    member = stage.worker()
    [job] = stage.claim(member)
    assert stage.main.run(pause(id)) == "requested"
    stage.settle([end(job, "returned", reason="drained")], member)  # it ended otherwise, and stands in line, paused
    resumer = stage.session()
    resumer.begin()
    assert resumer.run(resume(id)) == "running"

    stage.main.run(sweep_pauses())

    assert stage.places() == {id: "ready"}
    resumer.commit() if outcome == "commit" else resumer.rollback()
    stage.main.run(sweep_pauses())
    assert stage.places() == {id: "ready" if outcome == "commit" else "held"}
    assert stage.counts("pause") == (0 if outcome == "commit" else 1)
