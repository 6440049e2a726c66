"""Decorators turn functions into tasks. An App is the registry of them: no I/O, no clock, no global state.

A task stays the function it was: calling it just runs it. ``task.job(...)`` makes the job that would run it elsewhere,
typed by the function's own parameters and checked against them before anything is written.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import update_wrapper
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
    overload,
)

from ..core import check, limits
from ..core.backoff import Retry
from ..core.errors import InvalidOption, InvalidTask, UnknownTask
from ..core.signature import Signature
from ..jobs.handler import Upgrade, is_context
from ..jobs.model import JobSpec
from ..jobs.saves import StateUpgrade
from ..machines.errors import InvalidMachine
from ..machines.model import Machine
from ..machines.ops.move import TIMER
from .alarms import alarm
from .context import Context
from .declarations import Declarations
from .flows import Workflows

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=Context)
"""Bound, so that a first parameter which merely accepts a Context, an ``object`` say, stays an argument."""

Place: TypeAlias = Literal["loop", "thread", "process"]
"""Where a handler runs: on the event loop, in a thread, or in a child process."""


class Task(Generic[P, R]):
    """A function that jobs can run, with what is declared about running it. Made by ``App.task``.

    ``queue``, ``priority``, ``tags``, ``expires`` and ``at_most_once`` are what its jobs carry unless their enqueuer
    says otherwise; ``retry``, ``timeout`` (seconds) and ``run_in`` stay with the code that runs them.
    """

    __name__: str

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str,
        queue: str,
        retry: Retry,
        timeout: float | timedelta | None,
        run_in: Place | None,
        at_most_once: bool,
        priority: int | None,
        tags: Sequence[str],
        expires: timedelta | float | None,
        version: int,
        checkpoint_version: int,
    ) -> None:
        self.function = function
        self.name = check.name("name", name, limits.TASK_NAME_CHARS_MAX)
        self.queue = check.name("queue", queue, limits.QUEUE_NAME_CHARS_MAX)
        if not isinstance(retry, Retry):
            raise InvalidOption(f"got {type(retry).__name__}", field="retry", fix="give a Retry")
        self.retry = retry
        self.timeout = None if timeout is None else check.seconds("timeout", timeout)
        self.at_most_once = check.flag("at_most_once", at_most_once)
        self.priority = None if priority is None else check.priority("priority", priority)
        self.tags = check.tags("tags", tags)
        self.expires = None if expires is None else _relative(expires)
        self.version = check.version("version", version)
        self.upgrades: dict[int, Upgrade] = {}
        self.checkpoint_version = check.number("checkpoint_version", checkpoint_version, limits.CHECKPOINT_VERSION_MAX)
        self.checkpoint_upgrades: dict[int, StateUpgrade] = {}
        self.run_in = _place(function, name, run_in)
        self.signature = Signature(function, task=name, injected=is_context)
        self._spec = JobSpec(
            task=self.name,
            payload="{}",
            queue=self.queue,
            priority=self.priority,
            tags=self.tags,
            expires=self.expires,
            # It travels: whoever rescues the job from a dead worker may not have this code.
            at_most_once=self.at_most_once or None,
            version=self.version,
        )
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, as if it weren't a task."""
        return self.function(*args, **kwargs)

    def job(self, *args: P.args, **kwargs: P.kwargs) -> JobSpec:
        """A job that calls the function with these arguments, to be enqueued.

        Raises MissingArgument, UnknownArgument, InvalidArgument, Unserialisable or PayloadTooLarge.
        """
        return self.spec(self.signature.bind(*args, **kwargs))

    def spec(self, payload: str) -> JobSpec:
        """A job with these arguments, given as JSON object text that ``signature`` has bound or accepted."""
        return self._spec.with_payload(payload)

    def upgrade(self, version: int) -> Callable[[Upgrade], Upgrade]:
        """Decorate the function that makes arguments of this version into those of the next one.

        It is given the arguments as plain JSON values by name, before they are read as the task's types, and returns
        those of version + 1: ``@send_receipt.upgrade(1)``. Raises InvalidTask when the task takes no later version, or
        has an upgrade from this one.
        """
        if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version < self.version:
            raise InvalidTask(
                f"has no upgrade from version {version!r}: the task takes version {self.version}",
                field=self.name,
                fix="upgrade from an earlier one, and declare the task with the version that its arguments have now",
            )
        if version in self.upgrades:
            raise InvalidTask(f"has two upgrades from version {version}", field=self.name, fix="keep one of them")

        def keep(function: Upgrade) -> Upgrade:
            self.upgrades[version] = function
            return function

        return keep

    def upgrade_checkpoint(self, version: int) -> Callable[[StateUpgrade], StateUpgrade]:
        """Decorate the function that makes a checkpoint of this version into one of the next: it is given the state as
        plain JSON values, and returns that of version + 1. Raises InvalidTask."""
        if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version < self.checkpoint_version:
            raise InvalidTask(
                f"saves checkpoints of version {self.checkpoint_version}: none of version {version!r} to upgrade",
                field=self.name,
                fix="upgrade from an earlier one, and declare the task with the checkpoint_version that it saves now",
            )
        if version in self.checkpoint_upgrades:
            raise InvalidTask(f"upgrades version {version} twice", field=self.name, fix="keep one of them")

        def keep(function: StateUpgrade) -> StateUpgrade:
            self.checkpoint_upgrades[version] = function
            return function

        return keep

    def __repr__(self) -> str:
        return f"<Task {self.name}{self.signature.text} on {self.queue}>"


if TYPE_CHECKING:

    class ContextTask(Task[P, R]):
        """A task whose function takes the context first: a direct call gives one, a job doesn't."""

        def __call__(self, ctx: Context, /, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
            """Run the function here and now, in this context."""

else:
    ContextTask = Task  # one kind; only type checkers have to be told what the signature finds out


class Declare(Protocol):
    """What ``@app.task(…)`` decorates with."""

    @overload
    def __call__(self, function: Callable[Concatenate[C, P], R], /) -> ContextTask[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class App(Declarations, Workflows):
    """A named registry of tasks and queues. Making one, and declaring things on it, touches nothing outside of it."""

    def __init__(self, name: str) -> None:
        Declarations.__init__(self, check.name("name", name, limits.TASK_NAME_CHARS_MAX))
        self._tasks: dict[str, Task[..., Any]] = {}
        Workflows.__init__(self, self._tasks)
        self._machines: dict[str, Machine] = {}
        self.found_in: str | None = None
        """The module that a command line has named to find it in: children of a worker import that before others."""

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The declared state machines by name, read-only."""
        return MappingProxyType(self._machines)

    def machine(self, machine: Machine) -> Machine:
        """Declare a state machine. A worker of the app writes it to the database when it starts, as
        ``client.machines.declare(app)`` does; then Postgres holds everybody to it.

        Raises InvalidMachine for a second one of the same name.
        """
        if not isinstance(machine, Machine):
            raise InvalidMachine(f"got {type(machine).__name__}", field="machine", fix="give a Machine")
        if machine.name in self._machines:
            raise InvalidMachine(
                f"the app {self.name} has one already", field=f"machine {machine.name}", fix="give it another name"
            )
        self._machines[machine.name] = machine
        if any(transition.after is not None for transition in machine.transitions):
            self.task(name=TIMER + machine.name, queue=machine.queue)(alarm(machine))
        return machine

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The declared tasks by name, read-only."""
        return MappingProxyType(self._tasks)

    def find(self, name: str) -> Task[..., Any]:
        """The task of that name. Raises UnknownTask, with the nearest names there are, or that it is a workflow's."""
        found = self._tasks.get(check.text("task", name, limits.TASK_NAME_CHARS_MAX))
        if found is None:
            if any(name in (flow.name, flow.task) for flow in self.workflows.values()):
                problem, fix = "is a workflow, whose runs are started and not enqueued", "use client.workflows.start"
                raise UnknownTask(f"{name} {problem}", field="task", fix=fix)
            near = difflib.get_close_matches(name, self._tasks, n=3) or sorted(self._tasks)[:10]
            fix = f"there is {', '.join(near)}" if near else "the app declares no task"
            raise UnknownTask(f"the app {self.name} has no task {name!r}", field="task", fix=fix)
        return found

    @overload
    def task(self, function: Callable[Concatenate[C, P], R], /) -> ContextTask[P, R]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        retry: Retry = Retry(),  # noqa: B008  # a frozen value
        timeout: float | timedelta | None = None,
        run_in: Place | None = None,
        at_most_once: bool = False,
        priority: int | None = None,
        tags: Sequence[str] = (),
        expires: timedelta | float | None = None,
        version: int = 1,
        checkpoint_version: int = 1,
    ) -> Declare: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        retry: Retry = Retry(),  # noqa: B008  # a frozen value
        timeout: float | timedelta | None = None,
        run_in: Place | None = None,
        at_most_once: bool = False,
        priority: int | None = None,
        tags: Sequence[str] = (),
        expires: timedelta | float | None = None,
        version: int = 1,
        checkpoint_version: int = 1,
    ) -> Any:
        """Declare a function as a task, as ``@app.task`` or ``@app.task(queue="mail")``.

        A parameter annotated ``Context`` is filled in when a job runs. Put it first: there type checkers know that it
        is no argument of ``task.job``.
        ``name``: what the task is called in the database; the function's name when not given. It is a promise to the
        jobs that wait there, so give one before the function is renamed.
        ``queue``: where its jobs go. ``priority``: 0 (first) to 9 (last), 5 when not said. ``tags``: for finding them.
        ``retry``: when failed attempts are repeated. ``at_most_once``: never; a job that may have started is not
        started again, whatever stopped it, and goes to the dead with ``needs_review``. When its worker is lost, that is
        so for those which may have begun by what the worker had promised: more than have, and of a very busy worker all
        that it held. The others run.
        ``timeout``: how long one attempt may run, in seconds or as a timedelta; None for no bound.
        ``expires``: how long after its enqueue a job that hasn't started is still wanted.
        ``version``: of the arguments; raise it by one when their meaning changes, and say with ``task.upgrade`` what to
        make of those that wait. Workers with older code leave newer ones alone.
        ``checkpoint_version``: of the state that its handler saves; raise it by one when its meaning changes, and say
        with ``task.upgrade_checkpoint`` what to make of states that are saved. Without that such jobs are parked.
        ``run_in``: "loop" (async functions), "thread" (plain ones) or "process" (either, for work that needs a core).
        Raises InvalidOption or InvalidTask, naming the option or the parameter.
        """

        def declare(function: Callable[..., Any]) -> Task[..., Any]:
            return self._add(
                Task(
                    function,
                    name=name if name is not None else _own_name(function),
                    queue=queue,
                    retry=retry,
                    timeout=timeout,
                    run_in=run_in,
                    at_most_once=at_most_once,
                    priority=priority,
                    tags=tags,
                    expires=expires,
                    version=version,
                    checkpoint_version=checkpoint_version,
                )
            )

        return declare if function is None else declare(function)

    def _add(self, task: Task[..., Any]) -> Task[..., Any]:
        if task.name in self._tasks or task.name in self.workflows:
            kind = "task" if task.name in self._tasks else "version of a workflow"
            raise InvalidTask(
                f"the app {self.name} already has a {kind} of this name",
                field=task.name,
                fix='declare one of them with @app.task(name="…")',
            )
        self._tasks[task.name] = task
        return task

    def __repr__(self) -> str:
        return f"<App {self.name}, {len(self._tasks)} tasks>"


def _own_name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", "")
    if not isinstance(name, str) or not name.isidentifier():
        raise InvalidTask(f"{function!r} has no name of its own", field="task", fix='give @app.task(name="…")')
    return name


def _place(function: Callable[..., Any], name: str, run_in: Place | None) -> Place:
    """Where the function runs. An async function needs the loop; a plain one would stop it."""
    if not callable(function) or isinstance(function, type):
        raise InvalidTask(f"{function!r} is no function", field=name, fix="decorate a def or an async def")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidTask(
            "yields, and a handler returns once", field=name, fix="return a value, or enqueue a job per item"
        )
    is_async = inspect.iscoroutinefunction(function)
    if run_in is None:
        return "loop" if is_async else "thread"
    if run_in not in get_args(Place):
        raise InvalidOption(f"{run_in!r} is not allowed", field="run_in", fix='give "loop", "thread" or "process"')
    if run_in != "process" and is_async != (run_in == "loop"):
        kind, fix = ("an async", "loop") if is_async else ("a plain", "thread")
        raise InvalidOption(f"{run_in!r} can't run {kind} function", field="run_in", fix=f'give "{fix}" or "process"')
    return run_in


def _relative(expires: object) -> timedelta:
    found = check.expiry("expires", expires)
    if not isinstance(found, timedelta):
        raise InvalidOption("is a fixed moment", field="expires", fix="give a timedelta, counted from the enqueue")
    return found
