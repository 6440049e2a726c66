"""A file of one's own as jobs, a line each: what goes in has to come out, whoever is killed on the way."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..app import ndjson
from ..core import codec, limits
from ..jobs.model import JobSpec
from ..jobs.ops.enqueue import enqueue
from ..runtime.clock import monotonic
from . import ops
from .crew import Crew, DemoFailed, Hand, held_at_last, until
from .ground import Ground
from .ledger import Fed, audit_fed
from .shop import keep
from .stage import Stage

SLOTS = 8
ENQUEUE_LINES = 500
ENQUEUE_BYTES = 4_000_000
"""What one enqueue takes: so many lines, or so many bytes, whichever is reached first."""

PAGE_JOBS = 200
RUN_SECONDS = 5.0
"""How long two workers take for the file, if it is short: each job waits long enough for a worker to be killed, also on
a machine that is busy with other things."""
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.002, 1.0
REFUSALS_SHOWN = 100

_WRAPPING_BYTES = 64
"""What a value's payload is longer than the value."""


@dataclass
class Report:
    """What became of the file. ``refusals``: the first refused lines, a sentence each. Times are in seconds;
    ``take_over`` goes from the kill to the last job of the killed worker completed elsewhere."""

    postgres: str
    refusals: list[str] = field(default_factory=list)
    enqueue_seconds: float = 0.0
    killed_pid: int | None = None
    take_over_seconds: float = 0.0
    exit_codes: list[int] = field(default_factory=list)
    ledger: Fed | None = None
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[tuple[str, object]]:
        """The books, for people."""
        fed = self.ledger
        if fed is None:
            return []
        return [
            ("lines", fed.lines),
            ("refused", fed.refused),
            ("jobs", fed.jobs),
            ("of these completed, once each", fed.completed),
            ("values that came back changed", fed.different),
            ("in the hands of the killed worker", fed.lost),
            ("of these taken over", fed.recovered),
            ("attempts charged", fed.attempts),
            ("from the kill to the last of its jobs", self.take_over_seconds),
        ]


def text_of(raw: bytes) -> str:
    """The JSON text of a line, if its job has room for it. Raises what ``codec.accept`` raises."""
    return codec.accept(raw, bytes_max=limits.PAYLOAD_BYTES_MAX - _WRAPPING_BYTES)


def play(ground: Ground, stage: Stage, crew: Crew, path: Path) -> Report:
    """Feed the file, kill a worker on the way, and compare every value. Raises DemoFailed when it can't go on."""
    report = Report(ground.version)
    ground.ask(ops.create())
    with path.open("rb") as file:
        lines = [line.refusal is None for line in ndjson.read(file, text_of)]
    good = sum(lines)
    with path.open("rb") as file:
        offsets = _enqueue(ground, stage, report, file, good)
    lost, recovered = _kill(ground, stage, report, crew, len(offsets)) if offsets else (0, 0)
    with path.open("rb") as file:
        tally = _compare(ground, stage, file, offsets)
    report.exit_codes = [hand.leave() for hand in crew.hands if hand.process.poll() is None]
    _, unfinished = ground.ask(ops.progress())
    report.ledger = Fed(
        lines=len(lines),
        refused=len(lines) - good,
        jobs=len(offsets),
        unfinished=unfinished,
        lost=lost,
        recovered=recovered,
        unclean=sum(code != 0 for code in report.exit_codes),
        **tally,
    )
    report.problems = audit_fed(report.ledger)
    return report


def _enqueue(ground: Ground, stage: Stage, report: Report, file: BinaryIO, good: int) -> dict[int, int]:
    """Make a job of each good line; where in the file each enqueued line begins, by its number."""
    stage.scene("Its lines become jobs")
    seconds = min(max(RUN_SECONDS * SLOTS * 2 / max(good, 1), PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)
    began = monotonic()
    offsets: dict[int, int] = {}
    batch: list[JobSpec] = []
    size = 0
    for line in ndjson.read(file, text_of):
        if line.refusal is not None:
            report.refusals += [str(line.refusal)] if len(report.refusals) < REFUSALS_SHOWN else []
            continue
        spec = keep.spec(f'{{"value":{line.value},"seconds":{seconds:.4f}}}').options(key=f"line:{line.number}")
        if batch and (len(batch) == ENQUEUE_LINES or size + len(spec.payload) > ENQUEUE_BYTES):
            ground.ask(enqueue(batch))
            batch, size = [], 0
        batch.append(spec)
        size += len(spec.payload)
        offsets[line.number] = line.offset
        stage.bar("lines", len(offsets), good)
    ground.ask(enqueue(batch))
    report.enqueue_seconds = monotonic() - began
    stage.tell(f"{len(offsets):,} jobs, one for each line", seconds=report.enqueue_seconds)
    for refusal in report.refusals:
        stage.tell(f"refused: {refusal}")
    return offsets


def _kill(ground: Ground, stage: Stage, report: Report, crew: Crew, jobs: int) -> tuple[int, int]:
    """Run them on two workers of which one is killed: how many jobs it held, and how many of those completed."""
    stage.scene("Two workers run them, and one is killed")
    stage.busy("starting two workers")
    hands = crew.start("A", "B")
    stage.tell(" and ".join(f"worker {hand.name} is process {hand.pid}" for hand in hands))

    def busy() -> Hand | None:
        """Whoever holds most, once a part is done; of a few jobs none needs to be."""
        done, left = ground.ask(ops.progress())
        stage.bar("jobs", done, done + left)
        if not left:
            raise DemoFailed("every job had completed before a worker could be killed", fix="try again")
        held = {hand: len(ground.ask(ops.in_hand(hand.id))) for hand in hands}
        victim = max(held, key=held.__getitem__)
        return victim if held[victim] and (done >= jobs // 10 or jobs <= SLOTS * 4) else None

    victim = until("jobs to run", busy)
    killed = monotonic()
    victim.kill()
    report.killed_pid = victim.pid
    lost = [job.id for job in held_at_last(ground, victim)]
    stage.tell(f"kill -9 {victim.pid}: worker {victim.name} is gone, with {len(lost)} jobs in its hands")

    def settled() -> list[ops.Ended] | None:
        done, left = ground.ask(ops.progress())
        stage.bar("jobs", done, done + left)
        ends = ground.ask(ops.ends_of(lost))
        return ends if len(ends) == len(lost) else None

    recovered = sum(end.outcome == "completed" for end in until("the other worker to take over", settled))
    report.take_over_seconds = monotonic() - killed
    stage.tell(f"{recovered} of {len(lost)} taken over by the other one", seconds=report.take_over_seconds)
    _finish(ground, stage)
    return len(lost), recovered


def _finish(ground: Ground, stage: Stage) -> None:
    """Wait until no job is left, as long as more and more of them complete."""
    before = -1
    while True:
        done, left = ground.ask(ops.progress())
        if not left:
            return
        if done == before:
            raise DemoFailed(f"{left} jobs don't complete", fix="look at the log above")
        before = done

        def moved(before: int = before) -> bool:
            done, left = ground.ask(ops.progress())
            stage.bar("jobs", done, done + left)
            return done > before or not left

        until("the other jobs", moved)


def _compare(ground: Ground, stage: Stage, file: BinaryIO, offsets: dict[int, int]) -> dict[str, int]:
    """Hold what came out, as payload and as result, against the file; the counts of the ledger."""
    stage.scene("Every value is compared with its line")
    tally = dict.fromkeys(("finished", "completed", "different", "attempts", "rescues"), 0)
    began, after = monotonic(), 0
    while page := ground.ask(ops.finished(after, PAGE_JOBS)):
        for job in page:
            file.seek(offsets[int(job.key.removeprefix("line:"))])
            value = json.loads(file.readline())
            kept = json.loads(job.payload)["value"]
            tally["finished"] += 1
            tally["completed"] += job.outcome == "completed"
            # No result is stored for None, which JSON writes as null.
            result = None if job.result is None else json.loads(job.result)
            tally["different"] += not (same(value, kept) and same(value, result))
            tally["attempts"] += job.attempt
            tally["rescues"] += job.rescues
        after = page[-1].id
        stage.bar("values", tally["finished"], len(offsets))
    told = f"{tally['finished'] - tally['different']:,} of {len(offsets):,} came back as they went in"
    stage.tell(told, seconds=monotonic() - began)
    return tally


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: the order of keys doesn't matter, true isn't 1, and 1.0 is 1."""
    pending = [(one, other)]
    while pending:
        one, other = pending.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pending += [(value, other[key]) for key, value in one.items()]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pending += zip(one, other, strict=True)
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True
