"""Functions as steps call them: where they run, how they are found again, and what type their result has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache, partial, wraps
from types import FunctionType
from typing import Any, get_origin, get_type_hints

import msgspec

from ..core import codec
from ..core.backoff import Retry
from ..core.run_errors import InvalidWorkflow
from ..jobs.handler import is_context
from .commands import Work


def work_of(function: Callable[..., Any], step: str) -> Work:
    """The function as a step calls it; a task is called as its function, where it runs. Raises InvalidWorkflow."""
    plain = getattr(function, "function", function)
    if isinstance(plain, FunctionType) and plain.__closure__ is None and "<locals>" not in plain.__qualname__:
        return _work_of(function)
    return _made(function, step)  # what was made for one run isn't kept: it would keep what the run holds


def async_work_of(function: Callable[..., Any], step: str) -> Work:
    """The same of a function that runs on the loop. Raises InvalidWorkflow for any other."""
    work = work_of(function, step)
    if work.run_in != "loop":
        raise InvalidWorkflow(
            f"{function!r} isn't async", field=step, fix="give an async def: the transaction is the event loop's"
        )
    return work


@lru_cache(maxsize=4096)
def _work_of(function: Callable[..., Any]) -> Work:
    return _made(function, getattr(function, "__name__", "step"))


def _made(function: Any, step: str) -> Work:
    plain = getattr(function, "function", function)  # of a task
    if not callable(plain) or inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise InvalidWorkflow(f"{function!r} can't be called once", field=step, fix="give a def or an async def")
    run_in: Any = getattr(function, "run_in", None) or ("loop" if _is_async(plain) else "thread")
    named = _unbound(plain)
    address = f"{getattr(named, '__module__', '')}:{getattr(named, '__qualname__', type(named).__qualname__)}"
    signature = getattr(function, "signature", None)
    bind, version = getattr(signature, "bind", None), getattr(function, "version", 1)
    wanted = _context_of(named) if signature is None else signature.context
    filled = None if run_in == "process" else wanted
    retry = getattr(function, "retry", None)
    declares = isinstance(retry, Retry)  # a task does; what is none may have something of that name
    return Work(
        plain if filled is None else _placed(plain, filled),
        run_in,
        address,
        decoder_of(named),
        context=filled,
        filled=wanted,
        bind=bind,
        version=version,
        at_most_once=getattr(function, "at_most_once", False) is True,
        retry=retry if declares else None,
        timeout=function.timeout if declares else None,
    )


def _context_of(function: Any) -> str | None:
    """The parameter of a plain function that is annotated with ``perdure.Context``."""
    known = getattr(function, "__globals__", {})
    for name, annotation in getattr(function, "__annotations__", {}).items():
        meant = known.get(annotation, annotation) if isinstance(annotation, str) else annotation
        if name != "return" and is_context(meant):
            return str(name)
    return None


def _placed(function: Callable[..., Any], context: str) -> Callable[..., Any]:
    """The function, with its context, which comes by name, put among arguments that come by position."""
    place = list(inspect.signature(function).parameters).index(context)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) > place:
            args = (*args[:place], kwargs.pop(context), *args[place:])
        return function(*args, **kwargs)

    return call


def _unbound(function: Any) -> Any:
    """The function that partials of it call: what it is called and what it returns are that one's."""
    while isinstance(function, partial):
        function = function.func
    return function


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__func__", None))


def wants_result(function: Any) -> bool:
    """Whether a compensation has a parameter for what the step returned."""
    plain = getattr(function, "function", function)
    try:
        return "result" in inspect.signature(plain).parameters
    except (TypeError, ValueError):
        return False


def decoder_of(source: Any) -> Callable[[msgspec.Raw], Any]:
    """What reads a recorded result as the type that a function returns, or as a type itself; plain JSON otherwise."""
    is_type = isinstance(source, type) or get_origin(source) is not None  # list[int], and int | None
    declared = source if is_type else _returned(source)
    if declared in (None, type(None), Any, inspect.Signature.empty):
        return _plain
    try:
        return codec.decoder(declared).decode
    except Exception:
        return _plain


def _plain(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)


def _returned(function: Any) -> Any:
    try:
        return get_type_hints(function).get("return")
    except Exception:
        return None
