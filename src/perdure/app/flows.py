"""Decorators turn async functions into workflows, and workflows into handlers of their runs' jobs."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial, update_wrapper
from types import MappingProxyType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, get_args, overload

import msgspec
import psycopg

from ..core import check, limits
from ..core.backoff import Retry
from ..core.codec import encode, encode_result
from ..core.endings import Permanent
from ..core.op import Op
from ..core.run_errors import InvalidWorkflow, WorkflowNotFound
from ..core.signature import Signature
from ..jobs.handler import Handler
from ..jobs.loops.chores import Errands
from ..jobs.loops.minder import Minder
from ..jobs.ops.chores import Duty
from ..pg.drive import adrive
from ..pg.errors import translate
from ..pg.link import Link
from ..runtime.patience import patiently
from ..workflows.handle import Workflow
from ..workflows.loops.driver import Driver
from ..workflows.model import RunSpec, task_name
from ..workflows.ops.after import close, fallen, sweep
from ..workflows.ops.control import prune, versions
from .client.bound import AsyncTransaction, lent
from .desk import Desk

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Callable[..., Any])

log = logging.getLogger("perdure.workflows")


class Flow(Generic[P, R]):
    """A workflow in one version. Made by ``App.workflow``; ``run`` makes what ``workflows.start`` starts."""

    __name__: str

    def __init__(
        self,
        function: Callable[..., Awaitable[R]],
        *,
        name: str,
        version: int,
        queue: str,
        priority: int | None,
        tags: Sequence[str],
    ) -> None:
        self.name = check.name("name", name, limits.TASK_NAME_CHARS_MAX - 6)
        check.version("version", version)
        if not inspect.iscoroutinefunction(function):
            raise InvalidWorkflow("isn't async", field=self.name, fix="declare it with async def")
        self.function, self.version = function, version
        self.siblings: Mapping[str, Flow[..., Any]] = {}
        """All workflows of its app, by name and version."""
        self._validators: dict[str, Callable[..., Any]] = {}
        self.signature = Signature(function, task=self.name, injected=is_handle)
        if self.signature.context is None:
            raise InvalidWorkflow("takes no handle", field=self.name, fix="let it take wf: perdure.Workflow first")
        self.handle = self.signature.context
        self._spec = RunSpec(
            name=self.name,
            version=version,
            payload="{}",
            queue=check.name("queue", queue, limits.QUEUE_NAME_CHARS_MAX),
            priority=None if priority is None else check.priority("priority", priority),
            tags=check.tags("tags", tags),
        )
        update_wrapper(self, function)  # type: ignore[arg-type]  # it isn't called

    @property
    def task(self) -> str:
        """What the jobs of its runs are called."""
        return self._spec.task

    @property
    def queue(self) -> str:
        """Where its runs go."""
        return self._spec.queue

    @property
    def updates(self) -> Mapping[str, Callable[..., Any]]:
        """The validators of its updates, by name."""
        return MappingProxyType(self._validators)

    def run(self, *args: P.args, **kwargs: P.kwargs) -> RunSpec:
        """A run with these arguments, to be started.

        Raises MissingArgument, UnknownArgument, InvalidArgument, Unserialisable or PayloadTooLarge.
        """
        return self.spec(self.signature.bind(*args, **kwargs))

    def spec(self, payload: str) -> RunSpec:
        """A run with these arguments, given as JSON object text that ``signature`` has bound or accepted."""
        return msgspec.structs.replace(self._spec, payload=payload)

    def update(self, name: str) -> Callable[[T], T]:
        """Decorate what judges the updates of this name: it is given the value, as plain JSON, and the run's
        attributes. What it returns is the sender's answer; what it raises refuses the update. An accepted one reaches
        the run as a signal of this name."""
        check.text("name", name, limits.SIGNAL_NAME_CHARS_MAX)

        def keep(validator: T) -> T:
            if name in self._validators:
                raise InvalidWorkflow(f"has two updates {name!r}", field=self.name, fix="keep one of them")
            self._validators[name] = validator
            return validator

        return keep

    def decode(self, payload: msgspec.Raw) -> dict[str, Any]:
        """The arguments by name."""
        return self.signature.decode(payload)

    def encode(self, result: object) -> str:
        """The result as JSON text."""
        return encode_result(result)

    def bind(self, arguments: dict[str, Any]) -> str:
        """Arguments as JSON text, checked."""
        return self.signature.bind(**arguments)

    def __repr__(self) -> str:
        return f"<Workflow {self.task}{self.signature.text} on {self.queue}>"


class DeclareWorkflow(Protocol):
    """What ``@app.workflow(…)`` decorates with."""

    def __call__(self, function: Callable[Concatenate[Workflow, P], Awaitable[R]], /) -> Flow[P, R]: ...  # noqa: D102


class Workflows:
    """What an app knows of its workflows."""

    def __init__(self, tasks: Container[str]) -> None:
        self._workflows: dict[str, Flow[..., Any]] = {}
        self._taken = tasks

    @property
    def workflows(self) -> Mapping[str, Flow[..., Any]]:
        """The declared workflows by name and version, ``checkout/1``, read-only."""
        return MappingProxyType(self._workflows)

    @overload
    def workflow(self, function: Callable[Concatenate[Workflow, P], Awaitable[R]], /) -> Flow[P, R]: ...

    @overload
    def workflow(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        queue: str = "default",
        priority: int | None = None,
        tags: Sequence[str] = (),
    ) -> DeclareWorkflow: ...

    def workflow(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        queue: str = "default",
        priority: int | None = None,
        tags: Sequence[str] = (),
    ) -> Any:
        """Declare an async function as a workflow, as ``@app.workflow(version=1)``. It takes ``wf: perdure.Workflow``
        first.

        ``version``: a run stays with the version that it was started in. Keep the function of an old version declared,
        under the same ``name``, while runs of it live; a worker without it leaves them alone.
        ``queue``, ``priority``, ``tags``: of its runs' jobs.
        Raises InvalidOption or InvalidWorkflow.
        """

        def declare(function: Callable[..., Any]) -> Flow[..., Any]:
            if not callable(function):
                raise InvalidWorkflow(f"{function!r} is no function", field="workflow", fix="decorate an async def")
            named = name if name is not None else getattr(function, "__name__", "")
            flow: Flow[..., Any] = Flow(
                function, name=named, version=version, queue=queue, priority=priority, tags=tags
            )
            if flow.task in self._workflows:
                raise InvalidWorkflow(
                    f"the app already has version {version}", field=named, fix="give one another version"
                )
            if flow.task in self._taken:
                raise InvalidWorkflow(f"the app already has a task {flow.task}", field=named, fix="rename one of them")
            self._workflows[flow.task] = flow
            flow.siblings = self._workflows
            return flow

        return declare if function is None else declare(function)


def is_handle(annotation: object) -> bool:
    """Whether a parameter with this annotation is given the run: ``perdure.Workflow``."""
    if isinstance(annotation, str):  # imported for type checkers only
        return annotation in ("Workflow", "perdure.Workflow")
    return any(hasattr(each, "__perdure_workflow__") for each in (annotation, *get_args(annotation)))


def handler(flow: Flow[..., Any], driver: Driver) -> Handler:
    """The workflow as the claim loop knows it: what its jobs run is the driver."""

    async def activate(payload: msgspec.Raw, ctx: Any) -> Any:
        try:
            return await driver.activate(flow, ctx.lent(), payload)
        except WorkflowNotFound as error:  # none was ever started, and to look again finds none
            raise Permanent(str(error)) from None

    found, run_in = address(flow), _ON_THE_LOOP
    return Handler(
        name=flow.task,
        function=activate,
        run_in=run_in,
        retry=Retry(),
        timeout=None,
        at_most_once=False,
        decode=lambda payload: {"payload": payload},
        encode=encode,
        context="ctx",
        address=found,
        asks=True,
        host=partial(driver.host, found) if found else None,
        crashed=fallen,
    )


_ON_THE_LOOP: Literal["loop"] = "loop"


def address(flow: Flow[..., Any]) -> str:
    """Where a child process finds a workflow of the app, and by that all of them. Empty when it can't: the function
    stands inside another one, say."""
    named = flow.function
    stands: Any = sys.modules.get(named.__module__)
    for part in named.__qualname__.split("."):
        stands = getattr(stands, part, None)
    return f"{named.__module__}:{named.__qualname__}" if getattr(stands, "siblings", None) is flow.siblings else ""


class StepTransaction(AsyncTransaction):
    """The transaction of a step: the nouns, and ``connection`` (psycopg). ``keep`` hands out what later code needs."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], schema: str) -> None:
        super().__init__(connection, schema)
        self._schema, self._conn = schema, connection
        self.kept: Any = None

    @property
    def lost(self) -> bool:
        """Whether the connection is gone, and the transaction with it; also asked when that has ended."""
        return self._conn.closed

    def keep(self, value: Any) -> Any:
        """Record the value with the step: at a replay it is all that is left of the block. Returns it."""
        self.kept = value
        return value

    async def drive(self, op: Op[Any]) -> Any:
        """Drive an op in the transaction."""
        return await adrive(self.connection, op, self._schema)


class StepDesk:
    """Gives steps their transactions, on the connections that the worker has for its handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[StepTransaction]:
        """An open transaction, which commits when the block ends. Raises ``core.errors`` where none can be opened, and
        what psycopg raises afterwards, as the block has seen it."""
        async with AsyncExitStack() as stack:
            try:
                conn = await stack.enter_async_context(self._desk.awaited.connection())
                await stack.enter_async_context(conn.transaction())
            except psycopg.Error as error:
                ours = translate(error)
                raise (error if ours is None else ours) from error
            yield stack.enter_context(lent(StepTransaction(conn, self._desk.schema)))


def step_desk(ctx: Any) -> StepDesk:
    """Where a run's steps get their transactions: of its queue's connections."""
    return StepDesk(ctx.desk)


def errands(history_days: int) -> Errands:
    """What is done for runs with the chores, by every worker: also by one that has no workflow itself."""
    told = Duty("runs.close", close, period=limits.FOLLOW_UPS_SWEEP_SECONDS, pausable=False)
    return Errands(sweep, partial(close, all=False), [told, Duty("runs.prune", partial(prune, history_days))])


class Drivers:
    """What runs the workflows of one worker: nothing, when it has none."""

    def __init__(
        self,
        flows: Sequence[Flow[..., Any]],
        links: Mapping[str, Link],
        minder: Minder,
        stopping: Callable[[], bool],
        queues: Mapping[str, int],
    ) -> None:
        threads = sum(queues.values())
        self._driver: Driver | None = None
        self._link = links.get("workflows")
        self.handlers: dict[str, Handler] = {}
        if flows:
            self._driver = Driver(links["workflows"], step_desk, threads=threads, minder=minder, stopping=stopping)
            self.handlers = {flow.task: handler(flow, self._driver) for flow in flows}

    async def run(self) -> None:
        """Load and record for the runs, until cancelled."""
        if self._driver is not None and self._link is not None:
            await self._tell_missing(self._link)
            await self._driver.run()

    async def _tell_missing(self, link: Link) -> None:
        """Say which versions of this app's workflows live on that it hasn't any more: their runs wait for another
        worker."""
        names = {task.rpartition("/")[0] for task in self.handlers}
        for name, version, runs in await patiently(lambda: link.run(versions())):
            if name in names and task_name(name, version) not in self.handlers:
                log.warning("%d runs of %s live, which this worker doesn't have", runs, task_name(name, version))

    def close(self) -> None:
        """Forget the threads of steps."""
        if self._driver is not None:
            self._driver.close()
