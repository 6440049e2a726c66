"""One tree of exceptions, each with a stable code.

Programs branch on the class or on ``code``; people read ``str(error)``, which is always "field: problem; fix". The
message names what was found, the fix says what to do about it. Every error here can be pickled, because a handler in
a child process reports to its parent, and can be shown as problem+json (RFC 9457) through ``problem``.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar


class PerdureError(Exception):
    """The root of everything Perdure raises on purpose.

    ``message`` is the value's problem, ``field`` the argument, option or setting it was found in, ``fix`` what the
    reader can do. ``code`` is stable across releases; ``exit_code`` is what the command line ends with.
    """

    code: ClassVar[str] = "perdure_error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, field: str | None = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message, self.field, self.fix = message, field, fix

    def __str__(self) -> str:
        named = f"{self.field}: {self.message}" if self.field else self.message
        return f"{named}; {self.fix}" if self.fix else named

    @property
    def problem(self) -> dict[str, str | float | None]:
        """The error as the members of an RFC 9457 problem document."""
        return {
            "type": f"urn:perdure:error:{self.code}",
            "title": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(self).__name__).capitalize(),
            "detail": self.message,
            "field": self.field,
            "fix": self.fix,
            "code": self.code,
        }


class InvalidInput(PerdureError):
    """The caller gave something that can't be accepted; nothing was written."""

    code = "invalid_input"
    exit_code = 2


class InvalidArgument(InvalidInput):
    """A task's argument doesn't fit its annotation, or can't be kept exactly (NaN, a naive datetime)."""

    code = "invalid_argument"


class MissingArgument(InvalidInput):
    """A task was enqueued without an argument that has no default."""

    code = "missing_argument"


class UnknownArgument(InvalidInput):
    """A task was given an argument its signature doesn't have, one too many, or the same one twice."""

    code = "unknown_argument"


class PayloadTooLarge(InvalidInput):
    """The encoded arguments, or a result, pass the bound in ``core.limits``."""

    code = "payload_too_large"


class Unserialisable(InvalidInput):
    """A value has no JSON form: a socket, a lambda, an object of a class that isn't data."""

    code = "unserialisable"


class InvalidOption(InvalidInput):
    """An option of a task, of an enqueue, or of a policy is outside what is allowed."""

    code = "invalid_option"


class InvalidTask(InvalidInput):
    """A function can't be a task as it is declared: ``*args``, an unresolvable annotation, a name taken twice."""

    code = "invalid_task"


class UnknownTask(InvalidInput):
    """No task of that name is declared in the app."""

    code = "unknown_task"


class UnknownQueue(InvalidInput):
    """No job and no worker has named a queue of that name yet."""

    code = "unknown_queue"


class ImportFailed(InvalidInput):
    """``module:app`` can't be imported, or doesn't name an ``App``."""

    code = "import_failed"


class MalformedLine(InvalidInput):
    """A line of an NDJSON file isn't the JSON object it should be; ``field`` names the line."""

    code = "malformed_line"


class ConfigError(PerdureError):
    """The set-up can't work until somebody changes it; waiting and retrying don't help."""

    code = "config_error"
    exit_code = 2


class InvalidUrl(ConfigError):
    """The database URL can't be read."""

    code = "invalid_url"


class UnknownHost(ConfigError):
    """The host of the database URL has no address."""

    code = "unknown_host"


class LoginRefused(ConfigError):
    """The server answered and refused the user or the password."""

    code = "login_refused"


class DatabaseMissing(ConfigError):
    """The server answered, but has no database of that name."""

    code = "database_missing"


class ServerTooOld(ConfigError):
    """The server is older than the oldest Postgres that Perdure runs on."""

    code = "server_too_old"


class PoolerInTheWay(ConfigError):
    """What was asked for needs a session of its own, and the URL leads to a pooler in transaction mode."""

    code = "pooler_in_the_way"


class SchemaBehind(ConfigError):
    """The database lacks migrations that this code needs."""

    code = "schema_behind"


class SchemaAhead(ConfigError):
    """The database has migrations that this code doesn't know and can't work with."""

    code = "schema_ahead"


class MigrationChanged(ConfigError):
    """A migration that was already applied reads differently now than it did then."""

    code = "migration_changed"


class Unsupported(ConfigError):
    """What was asked for isn't possible here: an unknown session object, a missing extra."""

    code = "unsupported"


class ContextMissing(InvalidInput):
    """A job's context lacks a word that its queue requires."""

    code = "context_missing"


class QueueSaturated(PerdureError):
    """A queue holds as much as was declared, and its reaction is to refuse; nothing was written.

    ``queue`` is its name, ``depth`` about how many jobs wait in it, ``max_depth`` how many may, None when it is bound
    by age alone. ``retry_after``: seconds after which to try again, measured by how fast the queue drains.
    ``deadline``: seconds that an enqueue may wait for room outside of a transaction, None when it may not.
    """

    code = "queue_saturated"

    def __init__(
        self,
        message: str,
        *,
        queue: str = "",
        depth: int = 0,
        max_depth: int | None = None,
        retry_after: float = 1.0,
        deadline: float | None = None,
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message, field=field, fix=fix)
        self.queue, self.depth, self.max_depth = queue, depth, max_depth
        self.retry_after, self.deadline = retry_after, deadline

    @property
    def problem(self) -> dict[str, str | float | None]:
        """The members of a problem document, with ``status`` 429 and the seconds of its ``Retry-After`` header."""
        return {**super().problem, "status": 429, "queue": self.queue, "retry_after": math.ceil(self.retry_after)}


class DatabaseError(PerdureError):
    """Postgres refused or failed a statement. ``sqlstate`` is its five characters, None when no server spoke."""

    code = "database_error"
    transient: ClassVar[bool] = False

    def __init__(
        self, message: str, *, sqlstate: str | None = None, field: str | None = None, fix: str | None = None
    ) -> None:
        super().__init__(message, field=field, fix=fix)
        self.sqlstate = sqlstate


class TransientError(DatabaseError):
    """The same statement may succeed when repeated: SQLSTATE 08*, 40*, 53*, 55P03, 57*."""

    code = "transient_error"
    transient = True
    of_worker = False  # whether it met what a worker does for a handler, which the handler's job isn't charged for


class ServerUnavailable(TransientError):
    """No connection could be had: the server doesn't answer, is starting or full, or all of the client's are in use."""

    code = "server_unavailable"


class ConnectionLost(TransientError):
    """The connection broke under a statement; whether it committed is unknown, so look before repeating."""

    code = "connection_lost"


class OutcomeUnknown(ConnectionLost):
    """The connection broke while a commit was under way, and whether it took place could not be found out.

    Repeating it may write everything twice, unless a unique key stands in the way.
    """

    code = "outcome_unknown"


class RolledBack(ConnectionLost):
    """The connection broke, and it is certain that nothing of the transaction was kept."""

    code = "rolled_back"


class TransactionConflict(TransientError):
    """A deadlock or a serialization failure (40P01, 40001): nothing was kept. Repeat the whole transaction, if any."""

    code = "transaction_conflict"


class StatementTimeout(TransientError):
    """A statement ran past ``statement_timeout``, or was cancelled (57014). It may again, so it isn't just repeated."""

    code = "statement_timeout"


class LockTimeout(TransientError):
    """A lock wasn't granted within ``lock_timeout``."""

    code = "lock_timeout"


class StatementRefused(DatabaseError):
    """Postgres refused the statement or its values; the same ones would be refused again."""

    code = "statement_refused"


class NotPermitted(StatementRefused):
    """The database user may not do what the statement does (SQLSTATE 42501)."""

    code = "not_permitted"


class TransactionFailed(StatementRefused):
    """A statement of the transaction had failed before its end, so that nothing of it was kept."""

    code = "transaction_failed"


class GuaranteeBroken(PerdureError):
    """``perdure verify`` has seen something that must never be."""

    code = "guarantee_broken"


class JobError(PerdureError):
    """Something about one job. ``job_id`` is the job."""

    code = "job_error"

    def __init__(
        self, message: str, *, job_id: int | None = None, field: str | None = None, fix: str | None = None
    ) -> None:
        super().__init__(message, field=field, fix=fix)
        self.job_id = job_id


class DuplicateJob(JobError):
    """The job's unique key is taken, and its enqueuer asked for an error then: by ``job_id``, in ``place``, with other
    arguments (``differs``) or the same; or by the job at place ``twin`` of the same call, which wrote nothing."""

    code = "duplicate_job"

    def __init__(
        self,
        message: str,
        *,
        job_id: int | None = None,
        place: str | None = None,
        differs: bool = False,
        twin: int | None = None,
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message, job_id=job_id, field=field, fix=fix)
        self.place, self.differs, self.twin = place, differs, twin


class OwnershipLost(JobError):
    """The job isn't this handler's any more: its worker was taken for dead, or it was ended for the handler. Nothing
    was written, and somebody else may be running it."""

    code = "ownership_lost"


class JobNotFound(JobError):
    """No job has that id: it never existed, or its history has been dropped."""

    code = "job_not_found"


class JobNotRetryable(JobError):
    """The job can't be retried from where it is, for example because it has completed."""

    code = "job_not_retryable"


class WaitTimeout(JobError):
    """The awaited job hadn't ended when the wait did; the job itself goes on."""

    code = "wait_timeout"


class JobFailed(JobError):
    """The awaited job ended without a result. ``reason`` says why it gave up, ``error`` is its last error's text."""

    code = "job_failed"

    def __init__(
        self,
        message: str,
        *,
        job_id: int | None = None,
        reason: str | None = None,
        error: str | None = None,
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message, job_id=job_id, field=field, fix=fix)
        self.reason, self.error = reason, error


class JobCancelled(JobFailed):
    """The awaited job was cancelled."""

    code = "job_cancelled"


class JobExpired(JobFailed):
    """The awaited job expired before it was started."""

    code = "job_expired"
