"""The books at the end of a demonstration: what was counted, and everything in it that doesn't add up. No I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """What the rows of the demonstration say.

    ``orders``: paid ones. ``jobs``: different ones, wherever they stand. ``completions``: rows of history that say
    completed; ``completed``: different jobs among them. ``unpaid``: jobs about no paid order. ``receipts``: recorded
    ones; ``served``: paid orders that have one. ``runs``: handlers started. ``attempts``, ``rescues``: as history says.
    """

    orders: int
    jobs: int
    unfinished: int
    completions: int
    completed: int
    unpaid: int
    receipts: int
    served: int
    runs: int
    attempts: int
    rescues: int


@dataclass(frozen=True, slots=True)
class Witness:
    """What was seen while it ran.

    ``promised``: orders the story paid. ``rolled_back``: rows that the rolled-back transaction left. ``lost``: jobs in
    the hands of the killed worker; ``recovered``: those that completed under somebody else's lease. ``frozen`` and
    ``replaced``: the same for the frozen worker. ``refused``: its late settlements that were refused; ``overwritten``:
    ends that it recorded all the same. ``unclean``: workers that didn't end with 0 when asked to.
    """

    promised: int
    rolled_back: int
    lost: int
    recovered: int
    frozen: int
    replaced: int
    refused: int
    overwritten: int
    unclean: int


def audit(counts: Counts, seen: Witness) -> list[str]:
    """Everything that doesn't add up, as sentences; nothing when all is well."""
    checks = [
        (counts.orders == seen.promised, f"{seen.promised} orders were paid, and {counts.orders} are there"),
        (counts.jobs == counts.orders, f"{counts.orders} paid orders have {counts.jobs} jobs"),
        (counts.unpaid == 0, f"{counts.unpaid} jobs are about no paid order"),
        (seen.rolled_back == 0, f"the rolled-back transaction left {seen.rolled_back} rows"),
        (counts.unfinished == 0, f"{counts.unfinished} jobs have not finished"),
        (counts.completed == counts.jobs, f"{counts.completed} of {counts.jobs} jobs have completed"),
        (counts.completions == counts.completed, f"{counts.completions - counts.completed} jobs completed twice"),
        (
            counts.served == counts.orders == counts.receipts,
            f"{counts.orders} paid orders have {counts.receipts} receipts; {counts.orders - counts.served} have none",
        ),
        (counts.runs >= counts.jobs, f"{counts.jobs} jobs were run only {counts.runs} times"),
        (counts.attempts == counts.jobs, f"{counts.attempts} attempts were charged for {counts.jobs} jobs"),
        (seen.lost > 0, "the killed worker held no job"),
        (seen.recovered == seen.lost, f"of {seen.lost} jobs of the killed worker {seen.recovered} were taken over"),
        (seen.frozen > 0, "the frozen worker held no job"),
        (seen.replaced == seen.frozen, f"of {seen.frozen} jobs of the frozen worker {seen.replaced} were taken over"),
        (seen.refused > 0, "no late settlement of the frozen worker was refused"),
        (seen.overwritten == 0, f"the frozen worker recorded {seen.overwritten} ends when it woke"),
        (seen.unclean == 0, f"{seen.unclean} workers didn't end with exit code 0 when they were asked to"),
    ]
    return [problem for holds, problem in checks if not holds]


@dataclass(frozen=True, slots=True)
class Fed:
    """What became of a file's lines.

    ``lines``: with something in them. ``refused``: couldn't be a job. ``jobs``: enqueued. ``finished``: rows of history
    for them, ``completed``: those that say completed. ``different``: values that came back changed, in or out.
    ``lost`` and ``recovered``: jobs in the hands of the killed worker, and those that completed all the same.
    ``unclean``: workers that didn't end with 0 when asked to.
    """

    lines: int
    refused: int
    jobs: int
    finished: int
    completed: int
    different: int
    unfinished: int
    attempts: int
    rescues: int
    lost: int
    recovered: int
    unclean: int


def audit_fed(fed: Fed) -> list[str]:
    """Everything that doesn't add up about a file that was fed; refused lines are the file's fault, and no problem."""
    checks = [
        (fed.jobs == fed.lines - fed.refused, f"{fed.lines - fed.refused} good lines made {fed.jobs} jobs"),
        (fed.unfinished == 0, f"{fed.unfinished} jobs have not finished"),
        (fed.finished == fed.jobs, f"{fed.jobs} jobs have {fed.finished} ends"),
        (fed.completed == fed.jobs, f"{fed.completed} of {fed.jobs} jobs have completed"),
        (fed.different == 0, f"{fed.different} values came back changed"),
        (fed.attempts == fed.jobs, f"{fed.attempts} attempts were charged for {fed.jobs} jobs"),
        (fed.lost > 0 or fed.jobs == 0, "the killed worker held no job"),
        (fed.recovered == fed.lost, f"of {fed.lost} jobs of the killed worker {fed.recovered} were taken over"),
        (fed.unclean == 0, f"{fed.unclean} workers didn't end with exit code 0 when they were asked to"),
    ]
    return [problem for holds, problem in checks if not holds]
