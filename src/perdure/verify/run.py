"""One run: every guarantee put to the test, one after the other, in a schema that is removed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..bench.stage import Stage, staged
from ..core.errors import GuaranteeBroken
from ..runtime.clock import monotonic
from .guarantees import GUARANTEES, asked
from .setups import Setup

EVERYTHING = Setup()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one guarantee: whether it held, what was seen, and how long it took. ``stage``: its rung."""

    guarantee: str
    stage: int
    held: bool
    evidence: str
    seconds: float


def verify(
    url: str | None,
    say: Callable[[str], None],
    told: Callable[[Verdict], None],
    *,
    setup: Setup = EVERYTHING,
    names: Sequence[str] | None = None,
    prepare: Callable[[Stage], None] | None = None,
) -> list[Verdict]:
    """Put the guarantees to the test in the database of the URL (else $DATABASE_URL, else the embedded Postgres).

    ``setup``: with what; ``names``: which of its guarantees, else all. ``told`` gets each verdict as it falls.
    ``prepare`` is called with the stage before the first one. Raises what ``staged`` raises, and PerdureError when a
    worker process breaks. However it ends, no schema and no process is left.
    """
    verdicts = []
    with staged(url, say) as stage:
        if prepare is not None:
            prepare(stage)
        for name in asked(setup) if names is None else names:
            stage.clear()
            verdict = asyncio.run(_put(stage, setup, name))
            told(verdict)
            verdicts.append(verdict)
    return verdicts


async def _put(stage: Stage, setup: Setup, name: str) -> Verdict:
    began, guarantee = monotonic(), GUARANTEES[name]
    try:
        held, evidence = True, await guarantee.check(stage, setup)
    except GuaranteeBroken as error:
        held, evidence = False, error.message
    return Verdict(name, guarantee.stage, held, evidence, round(monotonic() - began, 1))
