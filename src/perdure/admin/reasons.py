"""What the reasons of ``held`` and ``dead`` mean, what happens next, and what is to be done; a test holds the tables
against every reason there is.
"""

from __future__ import annotations

from collections.abc import Mapping

HELD: Mapping[str, tuple[str, str, str]] = {
    "unknown_task": (
        "no worker that claimed it knows the task {held_key}",
        "the first worker that knows the task lets it go, within seconds",
        "deploy a worker whose app declares {held_key}, or cancel it",
    ),
    "newer_version": (
        "its arguments are of a later version ({held_key}) than the worker that claimed it takes",
        "the first worker that takes that version lets it go, within seconds",
        "go on with the deployment of the newer code, or cancel it",
    ),
    "checkpoint_version": (
        "the worker that claimed it can't go on from a checkpoint of its version ({held_key}): the code there saves an "
        "earlier one, or lacks an upgrade from there to its own",
        "the first worker that goes on from that version lets it go, within seconds",
        "go on with the deployment of the newer code, declare the missing upgrade_checkpoint, or cancel it",
    ),
    "paused": (
        "somebody has paused it",
        "nothing, until it is resumed; then it goes on where its last checkpoint stands",
        "perdure {noun} resume {name}",
    ),
    "context_missing": (
        "its queue takes jobs for a tenant only, and its context names none",
        "nothing: nobody can say for whom it would run",
        "enqueue it anew with its tenant, and cancel this one; or, if its queue needs no tenant any more, "
        "perdure jobs retry {id}",
    ),
}
"""What a reason of ``held`` means, what happens next, and what is to be done."""

OTHERWISE_HELD = ("it was set aside: {reason}", "it waits for its release", "cancel it, if it isn't wanted")

CANCELLED_RUN = (
    "perdure workflows cancel {name} undoes what was done, but no sooner than workers have code that comes as far as "
    "what is recorded; with --force it ends at once, and what isn't undone by then never is"
)
HELD_RUN: Mapping[str, tuple[str, str, str]] = {
    **{reason: (because, f"{next}{{undone}}", fix) for reason, (because, next, fix) in HELD.items()},
    "paused": (
        "somebody has paused it",
        "nothing, until it is resumed; then it goes on from what is recorded{undone}",
        "perdure workflows resume {name}",
    ),
    "invalid": (
        "the run {run} is parked, for a mistake of its code or arguments that don't fit: {trouble}",
        "nothing, until it is resumed{undone}",
        f"run workers with mended code, then perdure workflows resume {{name}}; {CANCELLED_RUN}",
    ),
    "diverged": (
        "the run {run} is parked: its code does something else than what is recorded: {trouble}",
        "nothing, until it is resumed{undone}",
        "run workers with code that fits what is recorded (perdure timeline {name} shows it), then perdure workflows "
        f"resume {{name}}; {CANCELLED_RUN}",
    ),
}
"""The same of a run. Those two of its own no worker lets go: only a person knows that the code is another by now."""

MISFIT = ": what is recorded doesn't fit the type"
"""What follows the step's name in the trouble of a run that can't read what it has recorded."""
MISFIT_RUN = (
    "let the type read what is recorded, then perdure workflows resume {name}; or let the step return what it "
    "declares, then perdure workflows rewind {name} {misfit}, which does it again, and what came after it; "
) + CANCELLED_RUN
AGAIN_RUN = "; perdure workflows rewind {name} {first_undone} does anew what was undone, and goes on from there"

DEAD: Mapping[str, str] = {
    "exhausted": "every attempt that its policy allows has failed",
    "permanent": "its handler said that no other attempt can succeed",
    "not_retryable": "it failed with an error that its policy doesn't retry",
    "max_elapsed": "it kept failing for longer than its policy retries",
    "deadline": "it would have expired before its next attempt",
    "worker_lost": "it has ended the process that ran it, again and again, or lost its workers too often",
    "needs_review": "it may have run, and must not run twice: only a person can tell whether it did",
    "bad_result": "its handler returned what can't be kept as a result; the work itself is done",
    "unreadable": "what is stored of it can't be read",
    "unsettleable": "Postgres refused to record how it ended",
}
"""What a reason of ``dead`` means."""

MENDED = "mend the cause, then perdure jobs redrive {id}; or perdure jobs discard {id}"
DEAD_FIXES: Mapping[str, str] = {
    "needs_review": "find out whether it happened: if it did, perdure jobs discard {id}; if it didn't, perdure jobs "
    "redrive {id}",
    "bad_result": "perdure jobs discard {id}; a redrive does the work again",
    "unsettleable": "find out what it did before it is done again: perdure jobs discard {id}, or perdure jobs redrive "
    "{id}",
}
"""What is to be done about one that may have done its work; about any other, it is ``MENDED``. Whoever waits for it is
told so in verbs of the client (``FIXES``)."""

DEAD_RUN: Mapping[str, str] = {
    **DEAD,
    "failed": "it has failed",
    "compensated": "it has failed, and what it had done was undone",
    "compensation_failed": "it has failed, and what it had done can't be undone",
    "deadline": "it hadn't ended at its deadline, and what it had done was undone",
}
"""The same of a run."""

MENDED_RUN = (
    "mend the cause, then perdure workflows retry {name}; or perdure workflows skip {name} {step} JSON, where somebody "
    "did it; perdure workflows rewind {name} STEP, to do again what was done; perdure workflows cancel {name} files it"
)
UNDONE_RUN = (
    "mend the cause, then perdure workflows fork {name} NEW-ID --step STEP, or perdure workflows rewind {name} STEP, "
    "with the first step that was undone or one before it; perdure workflows cancel {name} files it"
)
