"""One run: every guarantee put to the test, one after the other, in a schema that is removed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..bench.stage import Stage, staged
from ..core.errors import GuaranteeBroken
from ..runtime.clock import monotonic
from .guarantees import GUARANTEES


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one guarantee: whether it held, what was seen, and how long it took."""

    guarantee: str
    held: bool
    evidence: str
    seconds: float


def verify(
    url: str | None,
    say: Callable[[str], None],
    told: Callable[[Verdict], None],
    *,
    names: Sequence[str] = tuple(GUARANTEES),
    prepare: Callable[[Stage], None] | None = None,
) -> list[Verdict]:
    """Put the guarantees to the test in the database of the URL (else $DATABASE_URL, else the embedded Postgres).

    ``told`` gets each verdict as it falls. ``prepare`` is called with the stage before the first one. Raises what
    ``staged`` raises, and PerdureError when a worker process breaks. However it ends, no schema and no process is left.
    """
    verdicts = []
    with staged(url, say) as stage:
        if prepare is not None:
            prepare(stage)
        for name in names:
            stage.clear()
            verdict = asyncio.run(_put(stage, name))
            told(verdict)
            verdicts.append(verdict)
    return verdicts


async def _put(stage: Stage, name: str) -> Verdict:
    began = monotonic()
    try:
        held, evidence = True, await GUARANTEES[name](stage)
    except GuaranteeBroken as error:
        held, evidence = False, error.message
    return Verdict(name, held, evidence, round(monotonic() - began, 1))
