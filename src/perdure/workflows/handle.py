"""``Workflow``: what a workflow's function is given as ``wf``. Its methods make commands; the function awaits them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload
from uuid import UUID

from ..core import check, limits
from ..core.backoff import Retry
from ..core.errors import InvalidOption
from ..core.run_errors import InvalidWorkflow
from .commands import Block, Command, Do, Gather, Leave, Mode, Sleep, Start, Token, Undo, Wait
from .model import Close, RunSpec
from .reading import async_work_of, decoder_of, wants_result, work_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

R = TypeVar("R")
USUAL = Retry()
PATIENT = Retry(max_attempts=limits.RETRY_ATTEMPTS_MAX)
"""How steps are retried that have to succeed: compensations, and what comes after the pivot."""

_TAKEN = re.compile(r"cancel|(undo|patch) .*|.*#[0-9]+", re.DOTALL)
"""Names under which a run records what isn't a step of the code: a step of that name would be taken for it."""


class Startable(Protocol):
    """A declared workflow, as much as starting a child needs of it."""

    def run(self, *args: Any, **kwargs: Any) -> RunSpec: ...  # noqa: D102
    @property
    def function(self) -> Callable[..., Any]: ...  # noqa: D102


class Keeper(Protocol):
    """What the handle asks of the machine that runs the function."""

    id: str
    round: int
    cancelled: bool
    attributes: dict[str, Any]

    def name(self, base: str, kind: str, work: object = None) -> str: ...  # noqa: D102
    def made(self, command: Command) -> None: ...  # noqa: D102
    def now(self) -> datetime: ...  # noqa: D102
    def random(self) -> float: ...  # noqa: D102
    def bits(self, count: int) -> int: ...  # noqa: D102
    def patched(self, name: str) -> bool: ...  # noqa: D102
    def pivot(self) -> None: ...  # noqa: D102
    def note(self, values: dict[str, Any]) -> None: ...  # noqa: D102
    def continued(self, arguments: dict[str, Any]) -> object: ...  # noqa: D102

    @property
    def past_pivot(self) -> bool: ...  # noqa: D102


class Workflow:
    """A run, as its function sees it. Whatever isn't awaited from here must come out the same each time it is replayed.

    A name stands for a step: what is recorded under it is never done again. The second step of a name is ``name#2``.
    """

    __slots__ = ("_keeper",)
    __perdure_workflow__ = True

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    @property
    def id(self) -> str:
        """What the run is called."""
        return self._keeper.id

    @property
    def round(self) -> int:
        """How often it has continued as new."""
        return self._keeper.round

    @property
    def cancelled(self) -> bool:
        """Whether it has been told to end, and only tidies up."""
        return self._keeper.cancelled

    if TYPE_CHECKING:

        @overload
        def step(
            self,
            name: str,
            function: Callable[..., Awaitable[R]],
            /,
            *args: Any,
            retry: Retry | None = ...,
            timeout: float | timedelta | None = ...,
            compensate: Callable[..., Any] | None = ...,
            undo_retry: Retry | None = ...,
            **kwargs: Any,
        ) -> Awaitable[R]: ...

        @overload
        def step(
            self,
            name: str,
            function: Callable[..., R],
            /,
            *args: Any,
            retry: Retry | None = ...,
            timeout: float | timedelta | None = ...,
            compensate: Callable[..., Any] | None = ...,
            undo_retry: Retry | None = ...,
            **kwargs: Any,
        ) -> Awaitable[R]: ...

        def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102

    else:

        def step(self, name, function, /, *args, **options) -> Command:
            """Call the function once and record what it returns; await it for that. An async function runs on the
            loop, a plain one in a thread, a task with ``run_in="process"`` in a child process.

            ``retry``: when failed attempts are repeated; the wait between two costs no worker. ``timeout``: how long
            one attempt may run. ``compensate``: called with the same arguments when the run fails or is cancelled
            later, and with ``result=`` if it has such a parameter; it is registered before the step runs, so it must
            bear that the step never happened. ``undo_retry``: when that is repeated. A function of your own that takes
            one of these words as an argument is given it by position. Raises StepFailed.
            """
            return self._made(_do(self._keeper, name, function, args, options))

    def transaction(
        self, name: str, function: Callable[..., Any] | None = None, /, *args: Any, retry: Retry | None = None
    ) -> Transaction:
        """A transaction of the application's own, which commits together with the record that it was done.

        ``async with wf.transaction("paid") as tx``: at a replay the block is left at the first use of ``tx``, so hand
        what later code needs to ``tx.keep(value)``, and read it as ``.kept`` of what this returns.
        ``await wf.transaction("paid", mark_paid, order_id)``: call ``mark_paid(tx, order_id)``; what it returns is
        recorded. ``tx.connection`` is psycopg's. ``retry``: when a failed transaction is repeated.
        """
        keeper = self._keeper
        _check_name(name)
        work = None if function is None else async_work_of(function, name)
        policy = _policy("retry", retry) or _declared(keeper)
        block = Block(keeper.name(name, "transaction", work), work, args, retry=policy)
        if work is not None:
            keeper.made(block)
        return Transaction(block)

    def sleep(self, for_: timedelta | float) -> Awaitable[None]:
        """Wait for so long: seconds or a timedelta. It holds no worker, and a restart doesn't shorten it."""
        seconds = check.delay("for_", for_).total_seconds()
        made: Awaitable[None] = self._made(Sleep(self._keeper.name("sleep", "sleep"), seconds, None))
        return made

    def sleep_until(self, moment: datetime) -> Awaitable[None]:
        """Wait until an aware datetime; no time at all when it has passed."""
        until = check.moment("moment", moment)
        made: Awaitable[None] = self._made(Sleep(self._keeper.name("sleep", "sleep"), None, until))
        return made

    def signal(
        self, name: str, *, timeout: timedelta | float | None = None, type: type[Any] | None = None
    ) -> Awaitable[Any]:
        """Wait for the next signal of this name; its payload, as ``type`` if that is given. One that came early is
        taken at once. Raises StepTimeout (a TimeoutError) when none has come after ``timeout``.
        """
        check.text("name", name, limits.SIGNAL_NAME_CHARS_MAX)
        bound = None if timeout is None else check.delay("timeout", timeout).total_seconds()
        decode = None if type is None else decoder_of(type)
        made: Awaitable[Any] = self._made(Wait(self._keeper.name(f"signal {name}", "signal"), name, bound, decode))
        return made

    def token(self, name: str) -> Awaitable[str]:
        """A secret that lets whoever has it answer: ``client.workflows.callback(token, value)`` sends the signal of
        this name. Give it to the outside world, then await ``wf.signal(name)``."""
        check.text("name", name, limits.SIGNAL_NAME_CHARS_MAX)
        made: Awaitable[str] = self._made(Token(self._keeper.name(f"token {name}", "token")))
        return made

    def child(
        self, workflow: Startable, id: str, /, *args: Any, close: Close = "cancel", **kwargs: Any
    ) -> Awaitable[Any]:
        """Start a workflow of its own and wait for its result. ``close``: what becomes of it when this run is cancelled
        or fails: "cancel" or "abandon". Raises StepFailed when it failed or was cancelled."""
        made: Awaitable[Any] = self._made(_start(self._keeper, workflow, id, args, kwargs, close, detached=False))
        return made

    def start(
        self, workflow: Startable, id: str, /, *args: Any, close: Close = "abandon", **kwargs: Any
    ) -> Awaitable[str]:
        """Start a workflow of its own and go on; its id. With ``close="cancel"`` it ends with this run."""
        made: Awaitable[str] = self._made(_start(self._keeper, workflow, id, args, kwargs, close, detached=True))
        return made

    def gather(
        self,
        mode: Mode = "fail_fast",
        *,
        quorum: int | None = None,
        limit: int = limits.GATHER_LIMIT,
        on_failure: Literal["keep", "compensate"] = "keep",
    ) -> Group:
        """Steps and children side by side: ``async with wf.gather() as group``, which ends when all of them have.

        ``mode``: "fail_fast" (the first failure cancels the others and is raised), "collect_all" (all end, nothing is
        raised), "first_success" and ``quorum=k`` (enough successes cancel the others; GatherFailed when they can't be
        reached). ``limit``: so many at a time. ``on_failure``: whether those that were done are compensated at once
        when the whole fails, or kept until the run itself fails.
        """
        if quorum is not None:
            mode = "quorum"
        if mode not in ("fail_fast", "collect_all", "first_success", "quorum"):
            raise InvalidOption(
                f"{mode!r} is not allowed", field="mode", fix="give fail_fast, collect_all, first_success, or quorum=k"
            )
        needed = 1 if quorum is None else quorum
        for option, value in (("quorum", needed), ("limit", limit)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidOption(f"{value!r} is not allowed", field=option, fix="give 1 or more")
        return Group(self._keeper, Gather([], mode, needed, limit, on_failure == "compensate"))

    def now(self) -> datetime:
        """When the last thing that this run waited for had ended. The same at each replay."""
        return self._keeper.now()

    def random(self) -> float:
        """A draw from [0, 1) that a replay repeats."""
        return self._keeper.random()

    def uuid(self) -> UUID:
        """A random UUID that a replay repeats. Whoever knows the run can work it out: it is no secret."""
        return UUID(int=self._keeper.bits(128), version=4)

    def patched(self, name: str) -> bool:
        """Whether this run is to go the way of new code. True for a run that hadn't come this far when the code was
        changed, False for one that had, and the same each time."""
        return self._keeper.patched(name)

    def pivot(self) -> None:
        """From here on there is no way back: nothing is compensated, steps are retried until they succeed, and a cancel
        comes too late."""
        self._keeper.pivot()

    def set(self, **attributes: Any) -> None:
        """Say how far the run is, for those who look at it or search for it. Written with the next thing recorded."""
        self._keeper.note(attributes)

    @property
    def attributes(self) -> dict[str, Any]:
        """What has been set."""
        return dict(self._keeper.attributes)

    def continue_as_new(self, **arguments: Any) -> Any:
        """``return`` this to begin anew with other arguments: same id, same inbox, nothing recorded. For what would go
        on for ever."""
        return self._keeper.continued(arguments)

    def _made(self, command: Command) -> Any:
        """The command, noted; to the code it is something to await."""
        self._keeper.made(command)
        return command


class Group:
    """What is gathered. Read ``result`` or ``error`` of what ``step`` and ``child`` return after the block."""

    def __init__(self, keeper: Keeper, gather: Gather) -> None:
        self._keeper, self._gather = keeper, gather

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **options: Any) -> Command:
        """A step, as ``wf.step``."""
        return self._add(_do(self._keeper, name, function, args, options))

    def child(self, workflow: Startable, id: str, /, *args: Any, close: Close = "cancel", **kwargs: Any) -> Command:
        """A child, as ``wf.child``."""
        return self._add(_start(self._keeper, workflow, id, args, kwargs, close, detached=False))

    def signal(self, name: str, *, timeout: timedelta | float | None = None) -> Command:
        """A signal, as ``wf.signal``."""
        check.text("name", name, limits.SIGNAL_NAME_CHARS_MAX)
        bound = None if timeout is None else check.delay("timeout", timeout).total_seconds()
        return self._add(Wait(self._keeper.name(f"signal {name}", "signal"), name, bound, None))

    def sleep(self, for_: timedelta | float) -> Command:
        """A sleep, as ``wf.sleep``."""
        return self._add(Sleep(self._keeper.name("sleep", "sleep"), check.delay("for_", for_).total_seconds(), None))

    async def __aenter__(self) -> Group:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._gather.members:
            await self._gather

    def _add(self, command: Command) -> Command:
        self._gather.members.append(command)
        return command


class Transaction:
    """The block of ``wf.transaction``. ``kept``: what it handed to ``tx.keep``, also at a replay."""

    def __init__(self, block: Block) -> None:
        self._block = block

    @property
    def kept(self) -> Any:
        """What the block has kept."""
        return self._block.kept

    def __await__(self) -> Any:
        if self._block.work is None:
            raise InvalidWorkflow(
                "has no function to call", field=self._block.name, fix="use it in an async with, or give it a function"
            )
        return self._block.__await__()

    async def __aenter__(self) -> Any:
        if self._block.work is not None:
            raise InvalidWorkflow("has its function", field=self._block.name, fix="await it")
        return await self._block

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Skipped):
            return True
        if error is None or isinstance(error, Exception):
            await Leave(self._block, error)
        return False


class Skipped(BaseException):
    """Leaves the block of a transaction that was done before."""


class Done:
    """Stands for the transaction of a block that was done before: its first use leaves the block."""

    def __getattr__(self, name: str) -> Any:
        raise Skipped


def _declared(keeper: Keeper) -> Retry:
    return PATIENT if keeper.past_pivot else USUAL


@lru_cache(maxsize=4096)
def _check_name(name: str) -> None:
    if _TAKEN.fullmatch(check.text("name", name, limits.STEP_NAME_CHARS_MAX)):
        raise InvalidWorkflow("is a name that runs use themselves", field=str(name), fix="give the step another name")


def _do(keeper: Keeper, name: str, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Do:
    _check_name(name if isinstance(name, str) else check.text("name", name, limits.STEP_NAME_CHARS_MAX))
    retry, timeout = options.pop("retry", None), options.pop("timeout", None)
    back, undo_retry = options.pop("compensate", None), options.pop("undo_retry", None)
    work = work_of(function, name)
    undo = None
    if back is not None:
        policy = _policy("undo_retry", undo_retry) or PATIENT
        undo = Undo(work_of(back, f"{name}.compensate"), policy, wants_result(back))
    bound = None if timeout is None else check.seconds("timeout", timeout)
    numbered = keeper.name(name, "step", work)
    policy = _policy("retry", retry) or (getattr(function, "retry", None) or _declared(keeper))
    return Do(numbered, work, args, options, retry=policy, timeout=bound, compensate=undo)


def _policy(option: str, retry: object) -> Retry | None:
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidOption(f"got {type(retry).__name__}", field=option, fix="give a Retry")
    return retry


def _start(
    keeper: Keeper,
    workflow: Startable,
    id: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    close: Close,
    *,
    detached: bool,
) -> Start:
    if not hasattr(workflow, "run"):
        raise InvalidOption(f"got {workflow!r}", field="workflow", fix="give what @app.workflow has made")
    if close not in ("cancel", "abandon"):
        raise InvalidOption(f"{close!r} is not allowed", field="close", fix='give "cancel" or "abandon"')
    check.text("id", id, limits.RUN_ID_CHARS_MAX)
    spec = workflow.run(*args, **kwargs)
    decode = decoder_of(workflow.function)
    return Start(keeper.name(f"child {id}", "child"), id, spec, close=close, detached=detached, decode=decode)
