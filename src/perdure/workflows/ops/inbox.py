"""The inbox: signals and updates, on their way to a run. Each can come early, twice, late, or to nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core.op import Op, maybe, one, rows
from ...sql import statement
from .after import nudge, rouse

HOLD = statement("workflows.hold", lambda row: (int(row["job"]), bool(row["ended"]), bool(row["dead"])))
SEND = statement("workflows.send", lambda row: int(row["id"]))
AWAITING = statement("workflows.awaiting", lambda row: int(row["id"]))
ANSWER = statement("workflows.answer", lambda row: row)
ANSWERED = statement(
    "workflows.answered",
    lambda row: Answer(row["answered"], row["refusal"], row["answer"], row["ended"], row["paused"]),
)
TOKEN = statement("workflows.token", lambda row: (str(row["id"]), str(row["name"])))

Sent = Literal["sent", "duplicate", "finished", "missing"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an update: ``refusal`` says why it wasn't accepted, ``answer`` (JSON text) what it was told."""

    answered: bool
    refusal: str | None
    answer: str | None
    ended: bool
    paused: bool


def signal(id: str, name: str, payload: str | None, key: str | None) -> Op[Sent]:
    """Put a signal into the run's inbox, and wake it if it waits for that. "duplicate": one with this key is or was
    there. "finished", "missing": there is nobody to take it, and it isn't kept. In one transaction."""
    found = yield from maybe(HOLD, id=id)
    if found is None:
        return "missing"
    job, ended, _ = found
    if ended:
        return "finished"
    if (yield from maybe(SEND, run=job, name=name, key=key, payload=payload, update=False)) is None:
        return "duplicate"
    yield from rouse((yield from rows(AWAITING, run=job, name=name)))
    return "sent"


def update(id: str, name: str, payload: str | None) -> Op[int | Sent]:
    """Put an update into the run's inbox, and ask the run to look; its number, by which its answer is found."""
    found = yield from maybe(HOLD, id=id)
    if found is None:
        return "missing"
    job, ended, dead = found
    if ended or dead:
        return "finished"
    sent = yield from one(SEND, run=job, name=name, key=None, payload=payload, update=True)
    yield from nudge([job])
    yield from rouse((yield from rows(AWAITING, run=job, name=None)))
    return sent


def answer(run: int, generation: int, message: int, refusal: str | None, value: str | None) -> Op[None]:
    """Answer an update, on behalf of the run."""
    yield from rows(ANSWER, run=run, generation=generation, id=message, refusal=refusal, answer=value)


def answered(message: int) -> Op[Answer | None]:
    """What became of an update; None when its run isn't kept any more."""
    return (yield from maybe(ANSWERED, id=message))


def token(job: int, secret: str) -> Op[tuple[str, str] | None]:
    """The run and the signal that a token is for; None when it is for nothing."""
    return (yield from maybe(TOKEN, run=job, token=secret))
