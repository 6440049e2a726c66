"""Every bound and every period in one place, with its unit last.

A number that only one file needs and that nobody would look for stays in that file. Everything else is here, so that
``doctor``, the documentation and the tests read the same values as the code.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

PAYLOAD_BYTES_MAX: Final = 1_048_576
"""A job's encoded arguments. A claim returns the payloads of CLAIM_BATCH_MAX jobs as one text, and Postgres bounds a
value at 1 GiB - 1: 1,000 payloads of 1 MiB with their commas just fit, so no legal batch can fail to be claimed. Real
webhooks are far below (the largest of GitHub's published examples has 27 kB). Larger things go to a table or a file,
with their id in the job."""

EFFECT_SECONDS: Final = 30 * 86_400.0
"""How long it is remembered what a handler has done once. Longer than a job's retries take by far, and about as long as
payment providers keep an idempotency key."""

PAYLOAD_DEPTH_MAX: Final = 200
"""Arrays and objects within each other, in arguments and in a result. Decoders recurse, each to a bound of its own
(CPython's is 1,000 for the whole stack), and what is stored must be read wherever it is read."""

RESULT_BYTES_MAX: Final = 1_048_576
"""A job's encoded result, kept in history for HISTORY_DAYS."""

ERROR_TEXT_CHARS_MAX: Final = 8_000
"""What is kept of a failed attempt's text: the message and the end of the traceback, which names the line."""

TASK_NAME_CHARS_MAX: Final = 200
QUEUE_NAME_CHARS_MAX: Final = 100
KEY_CHARS_MAX: Final = 255
MACHINE_NAME_CHARS_MAX: Final = 100
STATE_CHARS_MAX: Final = 100
TAGS_MAX: Final = 16
TAG_CHARS_MAX: Final = 64
REASON_CHARS_MAX: Final = 500
"""The reason given with a cancel, a snooze or a permanent failure."""

CONTEXT_CHARS_MAX: Final = 255
CONTEXT_BYTES_MAX: Final = 1_024
"""A job's context: each of its words, and all of them as they are stored."""

VERSION_MAX: Final = 30_000
"""The version of a task's arguments."""

QUEUE_DEPTH_MAX: Final = 100_000_000
"""What a queue may be declared to hold; more than that is no bound."""

SAMPLE_SECONDS: Final = 1.0
SAMPLE_IDLE_SECONDS: Final = 15.0
SAMPLE_UNBOUNDED_SECONDS: Final = 5.0
"""How often a worker counts a queue that is bounded and in use, bounded and idle, or in use and without a bound."""
SAMPLE_SHARE: Final = 20
"""A queue that is dear to count is counted no more often than this many times the counting takes."""
ADVANCE_SECONDS: Final = 0.05
"""While jobs wait for room in a queue, a worker lets in as many as fit this often."""

DEBT_SECONDS: Final = 10.0
DEBT_SHARE: Final = 0.1
DEBT_JOBS: Final = 10
"""A queue is in debt when, over at least so many of the last sixty seconds, it has grown by more than this share of
what is ready, and by more jobs than this, and what is ready takes longer than that to drain."""
DEBT_AGE_SECONDS: Final = 60.0
"""And when its oldest ready job has been ready for longer than this."""

HANDLER_IDLE_SECONDS: Final = 60.0
"""For so long a handler may do nothing in its transaction, before Postgres ends it, and its connection."""
HANDLER_CONNECTIONS: Final = 10
"""Connections that the handlers of one queue may use in one worker, unless it is declared otherwise."""

RETRIES_AT_FIRST: Final = 10.0
RETRIES_SAVED_MAX: Final = 100.0
RETRIES_PER_SECOND: Final = 0.1
"""Of a retry budget: what there is before anything has completed, what can be saved up, what comes by itself."""
RETRY_PUT_OFF_SECONDS: Final = 20.0
"""How long a retry is put off for which the budget has nothing left; more or less, so that they come back spread."""

PRIORITY_MIN: Final = 0
PRIORITY_DEFAULT: Final = 5
PRIORITY_MAX: Final = 9
"""Priority 0 goes first, 9 last."""

TIMEOUT_SECONDS_MAX: Final = 7 * 86_400
"""How long one attempt may run. Work of more than a week belongs in steps."""

DELAY_DAYS_MAX: Final = 3_650
"""How far ahead a job may be due, snoozed or retried: far enough for any plan, near enough for any timestamp."""

MOMENT_MIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT_MAX: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""What a due time or an expiry may be, when it is said as a moment: what Python and Postgres can hold in every zone."""

RETRY_ATTEMPTS_MAX: Final = 10_000
RETRY_AFTER_SECONDS_MAX: Final = 3_600.0
"""Default cap on a delay that somebody else asked for (``Retry-After``)."""

CLAIM_BATCH_MAX: Final = 1_000
"""Jobs in one claim, so in one lease row."""

CLAIM_AHEAD_SECONDS: Final = 0.05
"""Work that a claim takes beyond the free slots, measured in the time it will take to run."""

ENQUEUE_STATEMENT_ROWS_MAX: Final = 5_000
"""Jobs in one enqueue statement; longer lists are sent as several statements of the same transaction."""

BEAT_SECONDS: Final = 1.0
TRUST_SECONDS: Final = 2.5
"""A worker starts nothing new when its last good beat was sent longer ago than this."""

DEAD_SECONDS: Final = 3.5
"""Others take a worker for dead after this long without a beat. More than TRUST_SECONDS, so that it has stopped
starting jobs before its own are given to somebody else."""

RESCUE_CHECK_SECONDS: Final = 0.5
RESCUES_MAX: Final = 10
"""A job that may have been running this often in a row when its worker was lost, although it runs alone after the first
time, goes to the dead with ``worker_lost``: it takes more with it than its child."""
RESCUE_DELAY_SECONDS_MAX: Final = 60.0
"""The first rescue gives a job back at once; each further one in a row waits twice as long, up to this."""
UNSETTLED_STEPS: Final = (64, 256)
"""Handlers of a worker that may have returned without their jobs being settled, before it must promise more."""
THREAD_ENDS_MAX: Final = 64
"""Ends of a queue's threads that may be on their way to the event loop, before its threads wait for it."""
SUSPECT_CRASHES_MAX: Final = 3
"""A suspect whose child has died under it this often goes to the dead with ``worker_lost``."""
SUSPECT_SECONDS: Final = 900.0
"""How long a suspect may run alone, if neither its task nor its enqueuer declares a timeout."""
SUSPECT_GRACE_SECONDS: Final = 1.0
"""How long a coroutine has to end in its child once its timeout has cancelled it, before the child is killed."""
SUSPECTS_WAITING_MAX: Final = 50
"""Suspects that wait for each child of a worker. Further ones go back for SUSPECT_PAUSE_SECONDS."""
SUSPECT_PAUSE_SECONDS: Final = 2.0
SUSPECT_MEMORY_SHARE: Final = 0.6
"""What suspects may use of the memory that the worker may use, all children together. The rest is the worker's."""
SUSPECT_MEMORY_BYTES_MIN: Final = 256 * 1024 * 1024
"""With less than this for each there are fewer children."""
SUSPECTS_PER_CORE: Final = 8
"""Children of suspects that run at a time for each core: most jobs wait more than they compute."""
CHORE_BATCH_MAX: Final = 1_000
"""Rows that one promotion, release or cancel sweep moves."""
CHORE_FAILURES_MAX: Final = 3
"""Failures in a row after which a chore that jobs don't wait for is parked, and reported."""
CHORE_PARKED_SECONDS: Final = 3_600.0
"""How long it is parked, unless somebody unparks it; then it is tried once."""
CHORE_PAUSE_SECONDS: Final = 5.0
CHORE_PAUSE_SECONDS_MAX: Final = 60.0
"""How long a chore that failed waits, doubled with each failure in a row up to the second."""
CRASHES_MAX: Final = 3
CRASH_WINDOW_SECONDS: Final = 600.0
"""So many unclean ends of workers within so long are a crash loop: what jobs don't wait for is paused meanwhile."""

POLL_IDLE_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 30.0
LOOP_DEAF_SECONDS: Final = 60.0
"""An event loop that hasn't answered for this long is reported, with its stack."""

HISTORY_DAYS: Final = 14
HISTORY_DAYS_MAX: Final = 3_660

RUN_ID_CHARS_MAX: Final = 255
STEP_NAME_CHARS_MAX: Final = 200
SIGNAL_NAME_CHARS_MAX: Final = 100
STEP_RESULT_BYTES_MAX: Final = 1_048_576
"""What one step may record; larger things go to a table or a file, with their id in the result."""
RUN_STEPS_MAX: Final = 10_000
"""Steps that one run may record: a replay goes through all of them. A run that goes on continues as new."""
RUN_ATTRIBUTES_BYTES_MAX: Final = 16_384
GATHER_LIMIT: Final = 20
"""Steps that a gathering runs at a time, when nothing else is said."""
GATHER_MEMBERS_MAX: Final = 1_000
RUN_TREE_MAX: Final = 1_000
"""Children that one cancel, or one end, tells at once."""

FLOOR_LAG_SECONDS_MIN: Final = 0.2
FLOOR_LAG_SECONDS_PER_WORKER: Final = 0.02
"""A floor is confirmed at least max(FLOOR_LAG_SECONDS_MIN, live workers x FLOOR_LAG_SECONDS_PER_WORKER) after it was
noted, so that short transactions don't become its guards."""

CHECKPOINT_BYTES_MAX: Final = 262_144
"""A checkpoint's encoded state: a position, or one for each partition, and not the data. Each save writes it whole."""
CHECKPOINT_BATCH_MAX: Final = 200
"""Checkpoints in one write: 50 MiB at most."""
CHECKPOINT_VERSION_MAX: Final = 10_000
CHECKPOINT_EVERY: Final = 500
CHECKPOINT_SECONDS: Final = 5.0
"""``ctx.advance`` and ``ctx.resumable`` save after so many items or so many seconds, whichever comes first."""
LOW_WATER_ABOVE_MAX: Final = 10_000
"""Items done above one that isn't, in one partition of a LowWater."""
PROGRESS_SECONDS: Final = 1.0
"""How often a job's progress is written at most."""
PROGRESS_MESSAGE_CHARS_MAX: Final = 500
STUCK_SECONDS: Final = 600.0
"""A job that reports progress or saves checkpoints, and hasn't advanced for so long, is shown as stuck."""

REPLAYS_MAX: Final = 100
"""Attempts that one ``client.run`` may be allowed."""
REPLAYS_DEFAULT: Final = 5
OUTCOME_SECONDS: Final = 10.0
"""How long a client asks what became of a commit that got no answer."""

FOLLOW_UPS_MAX: Final = 100
FOLLOW_UPS_DEPTH_MAX: Final = 50
"""Follow-ups of one job in all, and in a row. They are stored with the first one; what is longer is a workflow."""
FOLLOW_UPS_SWEEP_SECONDS: Final = 300.0
"""How often follow-ups are looked for whose job was ended by an older worker, or by SQL alone."""

CANCEL_MANY_MAX: Final = 10_000
"""Jobs that one transaction cancels: it locks all of them until it ends."""
