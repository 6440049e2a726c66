"""What the handle makes of what the code asks for: commands, checked, each with the name that is its next.

What can't be made is a mistake of the code, and parks the run, also when the code catches the error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache, wraps
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar

from ..core import check, limits
from ..core.backoff import Retry
from ..core.errors import InvalidInput, InvalidOption, PerdureError
from ..core.run_errors import InvalidWorkflow
from .commands import Block, Command, Do, Gather, Mode, Sleep, Start, Token, Undo, Wait, Work
from .fitting import check_call
from .model import Close, RunSpec, Step
from .reading import async_work_of, decoder_of, wants_result, work_of

P = ParamSpec("P")
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
    steps: dict[str, Step]
    turning: bool
    unawaited: dict[str, Command]

    def name(self, base: str, kind: str, work: object = None) -> str: ...  # noqa: D102
    def now(self) -> datetime: ...  # noqa: D102
    def random(self) -> float: ...  # noqa: D102
    def bits(self, count: int) -> int: ...  # noqa: D102
    def patched(self, name: str) -> bool: ...  # noqa: D102
    def pivot(self) -> None: ...  # noqa: D102
    def note(self, values: dict[str, Any]) -> None: ...  # noqa: D102
    def continued(self, arguments: dict[str, Any]) -> object: ...  # noqa: D102
    def mistake(self, error: PerdureError) -> PerdureError: ...  # noqa: D102

    @property
    def past_pivot(self) -> bool: ...  # noqa: D102


def _noting(make: Callable[Concatenate[Keeper, P], R]) -> Callable[Concatenate[Keeper, P], R]:
    """Remember the mistake where something can't be made: the code mightn't let the error out."""

    @wraps(make)
    def noting(keeper: Keeper, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return make(keeper, *args, **kwargs)
        except InvalidInput as error:
            keeper.mistake(error)
            raise

    return noting


def _declared(keeper: Keeper) -> Retry:
    return PATIENT if keeper.past_pivot else USUAL


@lru_cache(maxsize=4096)
def _check_name(name: str) -> None:
    if _TAKEN.fullmatch(check.text("name", name, limits.STEP_NAME_CHARS_MAX)):
        raise InvalidWorkflow("is a name that runs use themselves", field=str(name), fix="give the step another name")


@_noting
def do(keeper: Keeper, name: str, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Do:
    """A step. ``options``: what isn't the function's."""
    _check_name(name if isinstance(name, str) else check.text("name", name, limits.STEP_NAME_CHARS_MAX))
    work = work_of(function, name)
    retry = bound = back = undo = None
    if options:
        retry, timeout = _policy("retry", options.pop("retry", None)), options.pop("timeout", None)
        back, undo_retry = options.pop("compensate", None), options.pop("undo_retry", None)
        bound = None if timeout is None else check.seconds("timeout", timeout)
        undo = None if back is None else _undo(name, back, undo_retry, bound)
    numbered = keeper.name(name, "step", work)
    if _open(keeper, numbered):
        _check_step(numbered, function, work, back, undo, args, options)
    policy = retry or work.retry or _declared(keeper)
    bound = work.timeout if bound is None else bound
    return Do(numbered, work, args, options, retry=policy, timeout=bound, compensate=undo)


def _undo(name: str, back: Any, retry: object, bound: float | None) -> Undo:
    work = work_of(back, f"{name}.compensate")
    timeout = bound if work.timeout is None else work.timeout
    return Undo(work, _policy("undo_retry", retry) or PATIENT, timeout, wants_result(back))


def _open(keeper: Keeper, name: str) -> bool:
    """Whether anything is still to be called for the step. What is recorded may have been called otherwise."""
    step = keeper.steps.get(name)
    return step is None or not step.ended


def _check_step(
    name: str, function: Any, work: Work, back: Any, undo: Undo | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """That the step's function and its compensation can be called with this. Raises InvalidWorkflow."""
    check_call(name, function, args, kwargs, context=work.filled)
    if undo is not None:
        given = {**kwargs, "result": None} if undo.wants_result else kwargs
        check_call(name, back, args, given, context=undo.work.filled, role="compensation")


def _policy(option: str, retry: object) -> Retry | None:
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidOption(f"got {type(retry).__name__}", field=option, fix="give a Retry")
    return retry


@_noting
def block(
    keeper: Keeper, name: str, function: Callable[..., Any] | None, args: tuple[Any, ...], retry: object
) -> Block:
    """A transaction, of a function or of a block."""
    _check_name(name)
    work = None if function is None else async_work_of(function, name)
    policy = _policy("retry", retry) or _declared(keeper)
    numbered = keeper.name(name, "transaction", work)
    if function is not None and _open(keeper, numbered):
        check_call(numbered, function, (None, *args), {}, role="transaction")
    return Block(numbered, work, args, retry=policy)


@_noting
def sleep(keeper: Keeper, for_: timedelta | float) -> Sleep:
    """A sleep of so long."""
    seconds = check.delay("for_", for_).total_seconds()
    return Sleep(keeper.name("sleep", "sleep"), seconds, None)


@_noting
def sleep_until(keeper: Keeper, moment: datetime) -> Sleep:
    """A sleep until then."""
    until = check.moment("moment", moment)
    return Sleep(keeper.name("sleep", "sleep"), None, until)


@_noting
def wait(keeper: Keeper, name: str, timeout: timedelta | float | None, type: Any) -> Wait:
    """A wait for a signal."""
    check.text("name", name, limits.SIGNAL_NAME_CHARS_MAX)
    bound = None if timeout is None else check.delay("timeout", timeout).total_seconds()
    decode = None if type is None else decoder_of(type)
    return Wait(keeper.name(f"signal {name}", "signal"), name, bound, decode)


@_noting
def token(keeper: Keeper, name: str) -> Token:
    """A secret."""
    check.text("name", name, limits.SIGNAL_NAME_CHARS_MAX)
    return Token(keeper.name(f"token {name}", "token"), name)


@_noting
def start(
    keeper: Keeper,
    workflow: Startable,
    id: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    close: Close,
    *,
    detached: bool,
) -> Start:
    """A child."""
    if not hasattr(workflow, "run"):
        raise InvalidOption(f"got {workflow!r}", field="workflow", fix="give what @app.workflow has made")
    if close not in ("cancel", "abandon"):
        raise InvalidOption(f"{close!r} is not allowed", field="close", fix='give "cancel" or "abandon"')
    check.text("id", id, limits.RUN_ID_CHARS_MAX)
    spec = workflow.run(*args, **kwargs)
    decode = decoder_of(workflow.function)
    return Start(keeper.name(f"child {id}", "child"), id, spec, close=close, detached=detached, decode=decode)


@_noting
def patched(keeper: Keeper, name: str) -> bool:
    """Whether the run goes the new way."""
    return keeper.patched(check.text("name", name, limits.STEP_NAME_CHARS_MAX))


@_noting
def check_named(keeper: Keeper, verb: str, unnamed: tuple[object, ...]) -> None:
    """That what was given has names. Raises InvalidWorkflow."""
    if unnamed:
        raise InvalidWorkflow(f"got {unnamed[0]!r} without a name", field=verb, fix=f"give names: wf.{verb}(stage=…)")


@_noting
def gather(
    keeper: Keeper, mode: Mode, quorum: int | None, limit: int, on_failure: Literal["keep", "compensate"]
) -> Gather:
    """What will stand side by side; nothing yet."""
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
    if on_failure not in ("keep", "compensate"):
        raise InvalidOption(f"{on_failure!r} is not allowed", field="on_failure", fix="give keep or compensate")
    return Gather([], mode, needed, limit, on_failure == "compensate")


@_noting
def check_needed(keeper: Keeper, gather: Gather) -> None:
    """That as many stand side by side as have to succeed. Raises InvalidOption."""
    if gather.mode in ("first_success", "quorum") and len(gather.members) < gather.needed:
        raise InvalidOption(
            f"asks for {gather.needed} successes of {len(gather.members)}",
            field="gather",
            fix="gather at least as many as are needed",
        )
