"""Whether runs of workflows stand where nobody but a person moves them."""

from __future__ import annotations

from ...core.op import Op, rows
from ...jobs.view import gist
from ...sql import report
from ...workflows.ops import control
from ..model import Check, Finding, Subject

NAME = "workflows.stranded"
ASLEEP = "workflows.asleep"
STRANDED = report("workflows.stranded", lambda row: {**row, "told": gist(row["told"])})
REPORT_MAX = 100
"""What the report shows of each kind."""
SHOWN_MAX = 20


def stranded(subject: Subject) -> Op[list[Finding]]:
    """No run is parked, and none has failed with what it had done not undone."""
    found = yield from rows(STRANDED)
    torn, parked = ([each for each in found if each["state"] == state] for state in ("compensation_failed", "parked"))
    if not found:
        return [Finding(NAME, "ok", "no run is parked, or half undone", {"compensation_failed": 0, "parked": 0})]
    said = []
    if torn:
        said.append(
            f"runs that couldn't be undone: {_number(len(torn))}, first {torn[0]['id']} at {torn[0]['failed_step']!r}: "
            "see `perdure timeline ID`, then `perdure workflows retry ID`, or skip what was undone by hand"
        )
    if parked:
        said.append(
            f"parked runs: {_number(len(parked))}, first {parked[0]['id']} ({parked[0]['told']}): "
            "let workers with code that fits them run, then `perdure workflows resume ID`"
        )
    evidence = {
        "compensation_failed": len(torn),
        "parked": len(parked),
        "runs": [*torn[:SHOWN_MAX], *parked[:SHOWN_MAX]],
    }
    return [Finding(NAME, "fail" if torn else "warn", "; ".join(said), evidence)]


def asleep(subject: Subject) -> Op[list[Finding]]:
    """No run waits for nothing, as one does whose record of what it waits for was lost with a server."""
    found = yield from control.stuck(REPORT_MAX)
    if not found:
        return [Finding(ASLEEP, "ok", "each run that waits is woken by something", {"asleep": 0})]
    said = (
        f"runs that nothing wakes: {_number(len(found))}, first {found[0].id} ({found[0].problem}). A server that took "
        "over without the last commits leaves such: `perdure workflows --stuck` lists them, `perdure workflows resume "
        "ID` wakes one that waits"
    )
    shown = [{"id": each.id, "job": each.job, "problem": each.problem} for each in found[:SHOWN_MAX]]
    return [Finding(ASLEEP, "warn", said, {"asleep": len(found), "runs": shown})]


def _number(found: int) -> str:
    return f"{REPORT_MAX} or more" if found == REPORT_MAX else str(found)


CHECKS = (
    Check(NAME, "Is there a run that goes no further until somebody acts?", stranded),
    Check(ASLEEP, "Is there a run that waits, and for nothing?", asleep, seconds=30.0),
)
