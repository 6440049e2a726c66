"""Stop: steps that are recorded as cancelled, and the children that end with them; both, or neither."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.op import Op
from ..model import Entry, Recorded
from .after import ask
from .record import record


def stop(entries: Sequence[Entry], children: Sequence[int]) -> Op[list[Recorded | Exception]]:
    """Record that steps were cancelled and ask these children to end. In one transaction: a crash between the two
    would leave children behind of which nothing knows any more that they are to end."""
    answers = yield from record(entries)
    if children and not any(isinstance(answer, Exception) for answer in answers):
        yield from ask(children, "it was cancelled beside others")
    return answers
