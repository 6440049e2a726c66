"""The story of order:9182, a scene a function. What it tells is what it has measured."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from ..jobs.ops.enqueue import enqueue
from ..runtime.clock import monotonic
from . import ops
from .crew import Crew, DemoFailed, Hand, held_at_last, steady, until
from .ground import Ground
from .ledger import Counts, Witness, audit
from .shop import send_receipt
from .stage import Stage

ORDER = 9182
ORDERS = 300
FROZEN_ORDERS = 8
SLOTS = 8
WRITE_SECONDS = 0.1
ORDER_WRITE_SECONDS = 30.0
"""The receipt of order:9182 takes longer, so that its worker can be found and killed before it is sent."""
CONFIRM_SECONDS = 4.0
"""Those of the last scene take long to be confirmed, so that a worker can be frozen after it has sent them. Both spans
are longer than a busy machine keeps the story waiting."""
RECORD_SECONDS = 10.0
"""How long a worker that woke up may take to have an end refused, before it counts as having had none refused."""


class _Declined(Exception):
    """The card was declined: the transaction rolls back."""


@dataclass
class Report:
    """What the story measured. Times are in seconds: ``take_over`` from the kill to the last of its jobs completed
    elsewhere, ``order`` to that of order:9182, ``replace`` from the freeze to the start of its jobs elsewhere."""

    postgres: str
    commit_seconds: float = 0.0
    rolled_back: int = 0
    killed_pid: int = 0
    lost: int = 0
    recovered: int = 0
    take_over_seconds: float = 0.0
    order_seconds: float | None = None
    frozen_pid: int = 0
    frozen: int = 0
    replaced: int = 0
    replace_seconds: float = 0.0
    refused: int = 0
    overwritten: int = 0
    exit_codes: list[int] = field(default_factory=list)
    ledger: Counts | None = None
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[tuple[str, object]]:
        """The books, for people."""
        counts = self.ledger
        if counts is None:
            return []
        return [
            ("orders paid", counts.orders),
            ("receipts promised", counts.jobs),
            ("of these completed, once each", counts.completed),
            ("of these unfinished", counts.unfinished),
            ("receipts recorded", counts.receipts),
            ("handlers started", counts.runs),
            ("of these again, after the kill or the freeze", counts.runs - counts.jobs),
            ("attempts charged", counts.attempts),
            ("late settlements refused", self.refused),
            ("left by the rolled-back transaction", self.rolled_back),
            ("from the kill to the last of its receipts", self.take_over_seconds),
            ("from the freeze to the start of its receipts elsewhere", self.replace_seconds),
        ]


def play(ground: Ground, stage: Stage, crew: Crew) -> Report:
    """Play the story to its ledger, whose ``problems`` say what doesn't add up. Raises DemoFailed when it can't."""
    report = Report(ground.version)
    ground.ask(ops.create())
    _pay(ground, stage, report)
    _decline(ground, stage, report)
    survivor = _kill(ground, stage, report, crew)
    _freeze(ground, stage, report, crew, survivor)
    _leave(stage, report, crew)
    return _balance(ground, stage, report)


def _pay(ground: Ground, stage: Stage, report: Report) -> None:
    stage.scene("Orders are paid, and their receipts promised")
    began = monotonic()
    _order(ground, range(ORDER, ORDER + ORDERS))
    report.commit_seconds = monotonic() - began
    stage.tell(f"{ORDERS} orders paid and {ORDERS} receipts enqueued in one commit", seconds=report.commit_seconds)


def _decline(ground: Ground, stage: Stage, report: Report) -> None:
    stage.scene("One is declined after its receipt was promised")
    declined = ORDER + ORDERS + FROZEN_ORDERS
    with suppress(_Declined), ground.conn.transaction():
        _write(ground, range(declined, declined + 1))
        orders, jobs = ground.ask(ops.left_of(declined))
        stage.tell(f"inside its transaction: {orders} order, {jobs} receipt enqueued")
        raise _Declined
    orders, jobs = ground.ask(ops.left_of(declined))
    report.rolled_back = orders + jobs
    stage.tell(f"after its rollback: {orders} orders, {jobs} receipts")


def _kill(ground: Ground, stage: Stage, report: Report, crew: Crew) -> Hand:
    """The worker that holds order:9182 is killed; the other one takes over. Returns the survivor."""
    stage.scene("A worker is killed while it sends the receipt of order:9182")
    stage.busy("starting two workers")
    began = monotonic()
    hands = crew.start("A", "B")
    pids = " and ".join(f"{hand.name} (process {hand.pid})" for hand in hands)
    stage.tell(f"workers {pids} are at work", seconds=monotonic() - began)

    def sending() -> tuple[Hand, list[ops.Held]] | None:
        """The worker whose handler is at order:9182 while receipts have been sent already, and all that it holds."""
        done, left = ground.ask(ops.progress())
        stage.bar("receipts", done, done + left)
        if done < ORDERS // 10:
            return None
        held = {hand.name: ground.ask(ops.in_hand(hand.id)) for hand in hands}
        # On a machine that was busy for too long the order's receipt is sent already: then whoever holds most.
        wanted = [hand for hand in hands if any(job.key == f"order:{ORDER}" and job.started for job in held[hand.name])]
        victim = wanted[0] if wanted else max(hands, key=lambda hand: len(held[hand.name]))
        if not left:
            raise DemoFailed("every receipt was sent before a worker could be killed", fix="try again")
        return (victim, held[victim.name]) if held[victim.name] else None

    victim, _ = until("receipts to be sent", sending)
    survivor = next(hand for hand in hands if hand is not victim)
    killed = monotonic()
    victim.kill()
    lost = held_at_last(ground, victim)
    leases = {job.lease for job in lost}
    report.killed_pid, report.lost = victim.pid, len(lost)
    among = ", order:9182 among them" if any(job.key == f"order:{ORDER}" for job in lost) else ""
    stage.tell(f"kill -9 {victim.pid}: worker {victim.name} is gone, with {len(lost)} receipts in its hands{among}")
    ids = [job.id for job in lost]
    order_job = next((job.id for job in lost if job.key == f"order:{ORDER}"), None)

    def settled() -> list[ops.Ended] | None:
        done, left = ground.ask(ops.progress())
        stage.bar(f"receipts; {survivor.name} works on", done, done + left)
        ends = ground.ask(ops.ends_of(ids))
        if report.order_seconds is None and any(end.id == order_job for end in ends):
            report.order_seconds = monotonic() - killed
        return ends if len(ends) == len(ids) and not left else None

    ends = until(f"worker {survivor.name} to take over", settled)
    report.take_over_seconds = monotonic() - killed
    report.recovered = sum(end.outcome == "completed" and end.lease not in leases for end in ends)
    if report.order_seconds is not None:
        stage.tell(f"worker {survivor.name} sent the receipt of order:{ORDER}", seconds=report.order_seconds)
    stage.tell(
        f"worker {survivor.name} took over {report.recovered} of {report.lost} receipts and sent them",
        seconds=report.take_over_seconds,
    )
    return survivor


def _freeze(ground: Ground, stage: Stage, report: Report, crew: Crew, frozen: Hand) -> None:
    """A worker is frozen between the effect and its record, and wakes up while its heir is at the same jobs."""
    stage.scene("A worker freezes after it has sent receipts, is replaced, and wakes up")
    _order(ground, range(ORDER + ORDERS, ORDER + ORDERS + FROZEN_ORDERS), writing=0.0, confirming=CONFIRM_SECONDS)

    def sent() -> bool:
        held = ground.ask(ops.in_hand(frozen.id))
        return bool(held) and all(job.sent for job in held)

    until(f"worker {frozen.name} to send them", sent)
    began = monotonic()
    frozen.freeze()
    held = steady(lambda: ground.ask(ops.in_hand(frozen.id)))
    report.frozen_pid, report.frozen = frozen.pid, len(held)
    stage.tell(f"kill -STOP {frozen.pid}: worker {frozen.name} stands still, with {len(held)} receipts in its hands")
    stage.busy("starting another worker")
    (heir,) = crew.start("C")
    ids, leases = [job.id for job in held], {job.lease for job in held}

    def taken() -> bool:
        """Whether the heir has begun with each of them. The ends would be refused later, too, but not for the fence."""
        begun = {job.id for job in ground.ask(ops.in_hand(heir.id)) if job.started}
        stage.bar(f"receipts; {heir.name} waits out the silence", len(begun), len(ids))
        return len(begun | {end.id for end in ground.ask(ops.ends_of(ids))}) == len(ids)

    until(f"worker {heir.name} to take over", taken)
    report.replace_seconds = monotonic() - began
    stage.tell(
        f"worker {heir.name} has taken them over; sent they are already, and once is enough",
        seconds=report.replace_seconds,
    )
    frozen.thaw()
    stage.tell(f"kill -CONT {frozen.pid}: worker {frozen.name} goes on as if nothing had happened")
    stage.busy(f"worker {frozen.name} tries to record its ends")
    thawed = monotonic()
    report.refused = until(
        f"worker {frozen.name} to have nothing more to record",
        lambda: _refused(crew, frozen, patient=monotonic() < thawed + RECORD_SECONDS),
    )
    for line in sorted(frozen.said("stale"), key=lambda line: "completed" not in line)[:1]:
        stage.tell(f"its log: {line}")

    def settled() -> list[ops.Ended] | None:
        ends = ground.ask(ops.ends_of(ids))
        return ends if len(ends) == len(ids) else None

    ends = until(f"worker {heir.name} to record them", settled)
    report.overwritten = sum(end.lease in leases for end in ends)
    report.replaced = sum(end.outcome == "completed" and end.lease not in leases for end in ends)
    stage.tell(f"{report.refused} late settlements of worker {frozen.name} refused as stale")
    stage.tell(f"{report.replaced} of {report.frozen} receipts are completed by worker {heir.name} alone")


def _refused(crew: Crew, hand: Hand, *, patient: bool) -> int | None:
    """How many settlements of this worker were refused, once it has no more to send; none only after a while."""
    row = crew.row(hand)
    if row is None or row.gauges is None or row.id == hand.id:
        return None  # it doesn't know yet that it was declared dead
    busy = sum(queue["busy"] for queue in row.gauges["queues"].values())
    refused = int(row.gauges["settled"].get("stale", 0))
    return None if busy + row.gauges["unsettled"] or (patient and not refused) else refused


def _leave(stage: Stage, report: Report, crew: Crew) -> None:
    stage.scene("The workers are asked to leave")
    left = [hand for hand in crew.hands if hand.process.poll() is None]
    began = monotonic()
    report.exit_codes = [hand.leave() for hand in left]
    told = ", ".join(f"{hand.name} with exit code {code}" for hand, code in zip(left, report.exit_codes, strict=True))
    stage.tell(f"SIGTERM: they left, {told}", seconds=monotonic() - began)


def _balance(ground: Ground, stage: Stage, report: Report) -> Report:
    report.ledger = ground.ask(ops.count())
    seen = Witness(
        promised=ORDERS + FROZEN_ORDERS,
        rolled_back=report.rolled_back,
        lost=report.lost,
        recovered=report.recovered,
        frozen=report.frozen,
        replaced=report.replaced,
        refused=report.refused,
        overwritten=report.overwritten,
        unclean=sum(code != 0 for code in report.exit_codes),
    )
    report.problems = audit(report.ledger, seen)
    return report


def _order(ground: Ground, numbers: range, *, writing: float = WRITE_SECONDS, confirming: float = 0.0) -> None:
    """Pay for orders and promise their receipts, in one transaction."""
    with ground.conn.transaction():
        _write(ground, numbers, writing, confirming)


def _write(ground: Ground, numbers: range, writing: float = WRITE_SECONDS, confirming: float = 0.0) -> None:
    ground.ask(ops.pay({number: 1_000 + number % 97 * 25 for number in numbers}))
    jobs = [
        send_receipt.job(  # type: ignore[call-arg]  # the worker fills in ctx
            order_id=number, writing=ORDER_WRITE_SECONDS if number == ORDER else writing, confirming=confirming
        ).options(key=f"order:{number}")
        for number in numbers
    ]
    ground.ask(enqueue(jobs))
