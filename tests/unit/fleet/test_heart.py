"""How long a worker trusts itself after a beat."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core import limits
from perdure.core.op import Op
from perdure.fleet.loops import heart
from perdure.fleet.loops.heart import Heart
from perdure.fleet.model import Beat

SENT, TAKES = 100.0, 10.0
GOOD = Beat("alive", 1, (), (), 1, ())


@pytest.mark.parametrize(
    ("answer", "meanwhile", "trusted", "told"),
    [
        (GOOD, None, SENT + limits.TRUST_SECONDS, [(7, GOOD)]),
        (None, None, 0.0, [(7, None)]),
        (None, 8, SENT + TAKES, []),
        (GOOD, 8, SENT + TAKES, []),
    ],
    ids=["good", "dead", "dead before it began anew", "good before it began anew"],
)
def test_trust_counts_from_the_sending_of_a_beat(
    monkeypatch: pytest.MonkeyPatch, answer: Beat | None, meanwhile: int | None, trusted: float, told: list[Any]
) -> None:
    """However long a good beat's answer takes, trust counts from its sending: others count from when it was written,
    which is later. A worker that is found dead has none; what comes for one that has begun anew meanwhile is nothing to
    its successor [DW-105]. Red when trust counts from the answer, or when a beat isn't its worker's."""
    now, heard = [SENT], list[tuple[int, Beat | None]]()
    each = Heart("", "perdure", on_beat=lambda worker, beat: heard.append((worker, beat)), gauges=lambda: None)
    each._worker = 7

    def driven(conn: object, op: Op[Beat | None], schema: str) -> Beat | None:
        op.close()
        now[0] += TAKES
        if meanwhile is not None:
            each._worker, each.trusted_until = meanwhile, now[0]
        return answer

    monkeypatch.setattr(heart, "monotonic", lambda: now[0])
    monkeypatch.setattr(heart, "drive", driven)
    monkeypatch.setattr(Heart, "_connected", lambda self: None)
    each._beat()

    assert each.trusted_until == trusted
    assert heard == told
