"""``Workflow``: what a workflow's function is given as ``wf``. Its methods make commands; the function awaits them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Never, TypeVar, overload
from uuid import UUID

from ..core import limits
from ..core.backoff import Retry
from ..core.run_errors import InvalidWorkflow
from . import making
from .commands import Block, Command, Gather, Leave, Mode, stray
from .making import Keeper, Startable
from .model import Close

if TYPE_CHECKING:
    from collections.abc import Awaitable

R = TypeVar("R")


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

        def step(self, name=None, function=None, /, *args, **options) -> Command:
            """Call the function once and record what it returns; await it for that. An async function runs on the
            loop, a plain one in a thread, a task with ``run_in="process"`` in a child process.

            ``retry``: when failed attempts are repeated; the wait between two costs no worker. ``timeout``: how long
            one attempt may run. ``compensate``: called with the same arguments when the run fails or is cancelled
            later, and with ``result=`` if it has such a parameter; it is registered before the step runs, so it must
            bear that the step never happened. ``undo_retry``: when that is repeated. A function of your own that takes
            one of these words as an argument is given it by position. Raises StepFailed.
            """
            return self._made(making.do(self._keeper, name, function, args, options))

    def transaction(
        self, name: str, function: Callable[..., Any] | None = None, /, *args: Any, retry: Retry | None = None
    ) -> Transaction:
        """A transaction of the application's own, which commits together with the record that it was done.

        ``async with wf.transaction("paid") as tx``: at a replay the block is left at the first use of ``tx``, so hand
        what later code needs to ``tx.keep(value)``, and read it as ``.kept`` of what this returns.
        ``await wf.transaction("paid", mark_paid, order_id)``: call ``mark_paid(tx, order_id)``; what it returns is
        recorded. ``tx.connection`` is psycopg's. ``retry``: when a failed transaction is repeated.
        """
        block = making.block(self._keeper, name, function, args, retry)
        return Transaction(self._keeper, self._made(block))

    def sleep(self, for_: timedelta | float) -> Awaitable[None]:
        """Wait for so long: seconds or a timedelta. It holds no worker, and a restart doesn't shorten it."""
        made: Awaitable[None] = self._made(making.sleep(self._keeper, for_))
        return made

    def sleep_until(self, moment: datetime) -> Awaitable[None]:
        """Wait until an aware datetime; no time at all when it has passed."""
        made: Awaitable[None] = self._made(making.sleep_until(self._keeper, moment))
        return made

    def signal(
        self, name: str, *, timeout: timedelta | float | None = None, type: type[Any] | None = None
    ) -> Awaitable[Any]:
        """Wait for the next signal of this name; its payload, as ``type`` if that is given. One that came early is
        taken at once. Raises StepTimeout (a TimeoutError) when none has come after ``timeout``.
        """
        made: Awaitable[Any] = self._made(making.wait(self._keeper, name, timeout, type))
        return made

    def token(self, name: str) -> Awaitable[str]:
        """A secret that lets whoever has it answer: ``client.workflows.callback(token, value)`` sends the signal of
        this name. Give it to the outside world, then await ``wf.signal(name)``."""
        made: Awaitable[str] = self._made(making.token(self._keeper, name))
        return made

    def child(
        self, workflow: Startable, id: str, /, *args: Any, close: Close = "cancel", **kwargs: Any
    ) -> Awaitable[Any]:
        """Start a workflow of its own and wait for its result. ``close``: what becomes of it when this run is cancelled
        or fails: "cancel" or "abandon". Raises StepFailed when it failed or was cancelled."""
        made: Awaitable[Any] = self._made(making.start(self._keeper, workflow, id, args, kwargs, close, detached=False))
        return made

    def start(
        self, workflow: Startable, id: str, /, *args: Any, close: Close = "abandon", **kwargs: Any
    ) -> Awaitable[str]:
        """Start a workflow of its own and go on; its id. With ``close="cancel"`` it ends with this run."""
        made: Awaitable[str] = self._made(making.start(self._keeper, workflow, id, args, kwargs, close, detached=True))
        return made

    def gather(
        self,
        mode: Mode = "fail_fast",
        *,
        quorum: int | None = None,
        limit: int = limits.GATHER_LIMIT,
        on_failure: Literal["keep", "compensate"] = "keep",
    ) -> Group:
        """Steps, transactions, children and waits side by side: ``async with wf.gather() as group``, which ends when
        all of them have.

        ``mode``: "fail_fast" (the first failure cancels the others and is raised), "collect_all" (all end, nothing is
        raised), "first_success" and ``quorum=k`` (enough successes cancel the others; GatherFailed when they can't be
        reached). ``limit``: so many at a time. ``on_failure``: whether those that were done are compensated at once
        when the whole fails, or kept until the run itself fails.
        """
        return Group(self._keeper, making.gather(self._keeper, mode, quorum, limit, on_failure))

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
        return making.patched(self._keeper, name)

    def pivot(self) -> None:
        """From here on there is no way back: nothing is compensated, and a cancel comes too late. A step that
        gives up leaves the run failed."""
        self._keeper.pivot()

    def set(self, *unnamed: Never, **attributes: Any) -> None:
        """Say how far the run is, for those who look at it or search for it. Written with the next thing recorded."""
        making.check_named(self._keeper, "set", unnamed)
        self._keeper.note(attributes)

    @property
    def attributes(self) -> dict[str, Any]:
        """What has been set."""
        return dict(self._keeper.attributes)

    def continue_as_new(self, *unnamed: Never, **arguments: Any) -> Any:
        """``return`` this to begin anew with other arguments: same id, same inbox, nothing recorded. For what would go
        on for ever."""
        making.check_named(self._keeper, "continue_as_new", unnamed)
        return self._keeper.continued(arguments)

    def _made(self, command: Command) -> Any:
        """The command, noted; to the code it is something to await."""
        command.maker = self._keeper
        self._keeper.unawaited[command.name] = command
        return command


class Group:
    """What is gathered. Read ``result`` or ``error`` of what its methods return after the block."""

    def __init__(self, keeper: Keeper, gather: Gather) -> None:
        self._keeper, self._gather = keeper, gather

    if TYPE_CHECKING:

        def step(self, name: str, function: Callable[..., Any], /, *args: Any, **options: Any) -> Command: ...  # noqa: D102

        def transaction(  # noqa: D102
            self, name: str, function: Callable[..., Any], /, *args: Any, retry: Retry | None = None
        ) -> Command: ...

    else:

        def step(self, name=None, function=None, /, *args, **options) -> Command:
            """A step, as ``wf.step``."""
            return self._add(making.do(self._keeper, name, function, args, options))

        def transaction(self, name=None, function=None, /, *args, retry=None) -> Command:
            """A transaction with its function, as ``wf.transaction``. It has a connection of its own."""
            if not callable(function):
                raise self._keeper.mistake(InvalidWorkflow(
                    "has no function to call", field=str(name), fix="give it one: what stands side by side has no block"
                ))  # fmt: skip
            return self._add(making.block(self._keeper, name, function, args, retry))

    def child(self, workflow: Startable, id: str, /, *args: Any, close: Close = "cancel", **kwargs: Any) -> Command:
        """A child, as ``wf.child``."""
        return self._add(making.start(self._keeper, workflow, id, args, kwargs, close, detached=False))

    def start(self, workflow: Startable, id: str, /, *args: Any, close: Close = "abandon", **kwargs: Any) -> Command:
        """A child that isn't waited for, as ``wf.start``."""
        return self._add(making.start(self._keeper, workflow, id, args, kwargs, close, detached=True))

    def signal(self, name: str, *, timeout: timedelta | float | None = None, type: type[Any] | None = None) -> Command:
        """A signal, as ``wf.signal``."""
        return self._add(making.wait(self._keeper, name, timeout, type))

    def token(self, name: str) -> Command:
        """A token, as ``wf.token``."""
        return self._add(making.token(self._keeper, name))

    def sleep(self, for_: timedelta | float) -> Command:
        """A sleep, as ``wf.sleep``."""
        return self._add(making.sleep(self._keeper, for_))

    def sleep_until(self, moment: datetime) -> Command:
        """A sleep, as ``wf.sleep_until``."""
        return self._add(making.sleep_until(self._keeper, moment))

    async def __aenter__(self) -> Group:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gather = self._gather
        if not self._keeper.turning and gather.members and not isinstance(error, GeneratorExit):
            raise self._keeper.mistake(stray(gather.members[0].name))
        if error is not None:  # what stands in the block is never carried out
            for member in gather.members:
                self._keeper.unawaited.pop(member.name, None)
        else:
            making.check_needed(self._keeper, gather)
        if error is None and gather.members:
            await gather

    def _add(self, command: Command) -> Command:
        self._gather.members.append(command)
        command.maker = self._keeper
        self._keeper.unawaited[command.name] = command
        return command


class Transaction:
    """The block of ``wf.transaction``. ``kept``: what it handed to ``tx.keep``, also at a replay."""

    def __init__(self, keeper: Keeper, block: Block) -> None:
        self._keeper, self._block = keeper, block

    @property
    def kept(self) -> Any:
        """What the block has kept."""
        return self._block.kept

    def __await__(self) -> Any:
        if self._block.work is None:
            raise self._keeper.mistake(InvalidWorkflow(
                "has no function to call", field=self._block.name, fix="use it in an async with, or give it a function"
            ))  # fmt: skip
        return self._block.__await__()

    async def __aenter__(self) -> Any:
        if self._block.work is not None:
            raise self._keeper.mistake(InvalidWorkflow("has its function", field=self._block.name, fix="await it"))
        return await self._block

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Skipped):
            return True
        if not isinstance(error, GeneratorExit):  # a cancellation leaves it, too, and whatever else is raised
            await Leave(self._block, error)
        return False


class Skipped(BaseException):
    """Leaves the block of a transaction that was done before."""


class Done:
    """Stands for the transaction of a block that was done before: its first use leaves the block."""

    def __getattr__(self, name: str) -> Any:
        raise Skipped
