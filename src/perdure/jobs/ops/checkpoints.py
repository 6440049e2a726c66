"""Checkpoints: saved behind the job's fence, read before it runs again, forgotten by the transaction that ends it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...core.errors import LockTimeout, OwnershipLost
from ...core.op import Op, Row, rows
from ...sql import statement
from ..saves import Kept, Save
from .settle import generations


def _kept(row: Row) -> tuple[int, Kept]:
    value = msgspec.json.decode(row["value"])
    return row["job"], Kept(row["generation"], row["version"], value, row["saved_at"], row["advanced_in"])


SAVE = statement("jobs.save_checkpoints", lambda row: ((int(row["id"]), int(row["generation"])), bool(row["advanced"])))
CHECKPOINTS = statement("jobs.checkpoints", _kept)


def save(saves: Sequence[Save]) -> Op[list[bool | Exception]]:
    """Write the checkpoints; for each, whether its run has advanced: saved something that wasn't saved before it.

    Instead of that: OwnershipLost when the job is somebody else's now, and nothing was written; LockTimeout when
    another transaction has locked its row, so that it may be tried again. Of several saves of one run the last counts.
    """
    last: dict[tuple[int, int], Save] = {}
    for each in saves:
        fence = (each.id, each.generation)
        if fence not in last or last[fence].serial < each.serial:
            last[fence] = each
    found = dict(
        (
            yield from rows(
                SAVE,
                ids=[each.id for each in last.values()],
                generations=[each.generation for each in last.values()],
                serials=[each.serial for each in last.values()],
                versions=[each.version for each in last.values()],
                values=[each.value for each in last.values()],
            )
        )
    )
    missed = [id for id, generation in last if (id, generation) not in found]
    now = (yield from generations(missed)) if missed else {}
    return [_answer(each, found.get((each.id, each.generation)), now.get(each.id)) for each in saves]


def kept(ids: Sequence[int]) -> Op[list[Kept | None]]:
    """What these jobs have saved, in the order asked."""
    found = dict((yield from rows(CHECKPOINTS, ids=list(ids))))
    return [found.get(id) for id in ids]


def _answer(save: Save, advanced: bool | None, generation: int | None) -> bool | Exception:
    """``advanced``: None when nothing was written. ``generation``: the job's now, None when it has ended."""
    if advanced is not None:
        return advanced
    if generation == save.generation:
        return LockTimeout(f"another transaction has locked job {save.id}", fix="it is tried again")
    became = "has ended" if generation is None else f"is generation {generation} now"
    return OwnershipLost(
        f"was claimed as generation {save.generation} and {became}; nothing was written",
        job_id=save.id,
        field=f"job {save.id}",
        fix="stop: somebody else runs it, or it was ended",
    )
