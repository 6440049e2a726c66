"""Whether a function can be called with what a step gives it: asked before its first attempt, since none mends that."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

from ..core.run_errors import InvalidWorkflow

_known: WeakKeyDictionary[Callable[..., Any], dict[str | None, inspect.Signature | None]] = WeakKeyDictionary()
"""Signatures by function, without the parameter that is filled in. None: it has none that can be read."""

GIVE = "give a step what its function takes; its compensation is given the same"


def check_call(
    step: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    context: str | None = None,
    role: str = "step",
    fix: str = GIVE,
) -> None:
    """Raise InvalidWorkflow where the function, or the task, can't be called so. ``context``: the parameter that the
    worker fills in; ``role``: as what the function is called; ``fix``: what to do where it can't."""
    plain = getattr(function, "function", function)  # of a task
    if not kwargs and _counts(plain, len(args), context):
        return
    signature = _signature(plain, context)
    if signature is None:
        return
    try:
        signature.bind(*args, **{word: value for word, value in kwargs.items() if word != context})
    except TypeError as error:
        raise _wrong(step, plain, signature, kwargs, error, role, fix) from None


def _counts(function: Any, given: int, context: str | None) -> bool:
    """Whether so many arguments, all by position, are right: what a glance at the code shows of most functions."""
    if isinstance(function, MethodType):
        function, given = function.__func__, given + 1
    if not isinstance(function, FunctionType):
        return False
    code = function.__code__
    most = code.co_argcount
    least = most - len(function.__defaults__ or ())
    if context is not None:
        if context not in code.co_varnames[:most]:
            return False
        least, most = least - (context in code.co_varnames[:least]), most - 1
    return not code.co_kwonlyargcount and least <= given and (given <= most or bool(code.co_flags & inspect.CO_VARARGS))


def _signature(function: Callable[..., Any], context: str | None) -> inspect.Signature | None:
    """The function's own: not that of one which it only wraps, and hands other arguments."""
    try:
        known = _known.setdefault(function, {})
    except TypeError:  # unhashable, or not to be held weakly
        return _read(function, context)
    if context not in known:
        known[context] = _read(function, context)
    return known[context]


def _read(function: Callable[..., Any], context: str | None) -> inspect.Signature | None:
    try:
        signature = inspect.signature(function, follow_wrapped=False)
        return signature.replace(parameters=[each for each in signature.parameters.values() if each.name != context])
    except (TypeError, ValueError):  # of a builtin
        return None


def _wrong(
    step: str,
    function: Any,
    signature: inspect.Signature,
    kwargs: dict[str, Any],
    error: TypeError,
    role: str,
    fix: str,
) -> InvalidWorkflow:
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    words = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    shown = f"{getattr(function, '__name__', type(function).__name__)}{words}"
    open_ended = any(each.kind is each.VAR_KEYWORD for each in bare)
    unknown = [] if open_ended else [word for word in kwargs if word not in signature.parameters]
    if role == "step" and unknown:
        told = f"{unknown[0]}: is neither an option of a step nor an argument of {shown}"
        fix = "its options are retry, timeout, compensate and undo_retry"
    else:
        told = f"its {role}, {shown}, can't be called with what it is given: {error}"
    return InvalidWorkflow(told, field=step, fix=fix)
