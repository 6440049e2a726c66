"""A function's parameters as the type of its job's arguments.

Arguments travel by name, as one JSON object. ``bind`` checks them against the annotations before anything is written,
``decode`` gives the worker the values of those types. Defaults don't travel: a job enqueued without an argument runs
with the default of the code that runs it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NoReturn, get_args, get_type_hints

import msgspec

from . import codec
from .errors import InvalidArgument, InvalidTask, MissingArgument, UnknownArgument

_PLACE = re.compile(r"^(?P<text>.*?)(?: - at (?P<place>.*))?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$")

# Types whose values JSON may change without a word, so that only the given value shows it.
_LOOSE = (msgspec.inspect.AnyType, msgspec.inspect.CustomType)
# Types whose decoded values may be ones that the codec refuses.
_TIMED = (msgspec.inspect.DateTimeType, msgspec.inspect.TimeType, msgspec.inspect.DecimalType)


def _nothing_injected(annotation: object) -> bool:
    return False


class Signature:
    """The arguments of a task, built once from its function.

    ``task`` names the task in errors. ``injected`` says of an annotation whether its parameter is filled in by the
    worker, such as ``ctx: perdure.Context``: it is left out of the arguments, and its name is kept in ``context``. It
    is given the annotation's text when the annotation can't be resolved (imported for type checkers only).
    Raises InvalidTask for a function whose parameters can't travel by name or have no JSON form.
    """

    __slots__ = ("_decode", "_inspect", "_positional", "_walk", "context", "names", "task", "text")

    def __init__(
        self,
        function: Callable[..., object],
        *,
        task: str,
        injected: Callable[[object], bool] = _nothing_injected,
    ) -> None:
        self.task = task
        self.context: str | None = None
        members: list[tuple[str, Any, Any]] = []
        shown: list[str] = []
        positional: list[str] = []
        for parameter in inspect.signature(function).parameters.values():
            annotation = _resolve(function, parameter.name, parameter.annotation)
            if injected(annotation):
                self.context = parameter.name
                continue
            self._refuse_shape(parameter, annotation)
            default = _default(parameter)
            members.append((parameter.name, annotation, default))
            shown.append(f"{parameter.name}: {_shown(annotation)}" + ("" if default is msgspec.NODEFAULT else " = …"))
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                positional.append(parameter.name)
        self.names = tuple(name for name, _, _ in members)
        self._positional = tuple(positional)
        self.text = f"({', '.join(shown)})"
        arguments = msgspec.defstruct("Arguments", members, forbid_unknown_fields=True, kw_only=True)
        kinds = {type(each) for name, annotation, _ in members for each in self._types(name, annotation)}
        self._walk = any(issubclass(kind, _LOOSE) for kind in kinds)
        self._inspect = any(issubclass(kind, _TIMED) for kind in kinds)
        self._decode = codec.decoder(arguments).decode

    def bind(self, /, *args: object, **kwargs: object) -> str:
        """The arguments as JSON object text, checked against the annotations.

        Raises MissingArgument, UnknownArgument, InvalidArgument, Unserialisable or PayloadTooLarge, naming the place.
        """
        if args:
            kwargs = self._by_name(args, kwargs)
        text = codec.encode(kwargs, walk=self._walk)
        try:
            decoded = self._decode(text)
        except msgspec.MsgspecError as error:
            self._refuse(error)
        if self._inspect:
            codec.inspect(msgspec.structs.asdict(decoded))
        return text

    def accept(self, text: str | bytes) -> str:
        """JSON object text from outside (a file, another program), held to the same rules as ``bind``.

        The text is kept as it was written, so no value loses a digit. Raises what ``bind`` raises.
        """
        text = codec.accept(text)
        try:
            decoded = self._decode(text)
        except msgspec.MsgspecError as error:
            self._refuse(error)
        codec.inspect(msgspec.structs.asdict(decoded))
        return text

    def decode(self, raw: str | bytes | msgspec.Raw) -> dict[str, Any]:
        """The arguments of a job, by name, with the defaults filled in: ``function(**signature.decode(raw))``.

        Raises MissingArgument, UnknownArgument or InvalidArgument when the job was enqueued for another signature.
        """
        try:
            return msgspec.structs.asdict(self._decode(raw))
        except msgspec.MsgspecError as error:
            self._refuse(error)

    def _by_name(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        if len(args) > len(self._positional):
            raise UnknownArgument(
                f"got {len(args)} positional arguments, {len(self._positional)} can be given by position",
                field=self.task,
                fix=self._fix(),
            )
        named = dict(zip(self._positional, args, strict=False))
        if not kwargs:
            return named
        for name in named.keys() & kwargs.keys():
            raise UnknownArgument("is given twice, by position and by name", field=name, fix="give it once")
        return {**named, **kwargs}

    def _refuse(self, error: msgspec.MsgspecError) -> NoReturn:
        """Raise msgspec's refusal as one of ours, naming the argument."""
        found = _PLACE.match(str(error))
        text, place = (found["text"], found["place"] or "") if found else (str(error), "")
        path = re.sub(r"^key in ", "a key of ", place.replace("`", "")).replace("$.", "").replace("$", "")
        if not path and (missing := _MISSING.match(text)):
            raise MissingArgument("is missing", field=missing["name"], fix=self._fix()) from None
        if not path and (unknown := _UNKNOWN.match(text)):
            raise UnknownArgument("is not an argument of the task", field=unknown["name"], fix=self._fix()) from None
        problem = text.replace("`", "").replace("got null", "got None")
        problem = problem[:1].lower() + problem[1:]
        raise InvalidArgument(problem, field=path or self.task, fix=self._fix()) from None

    def _fix(self) -> str:
        return f"{self.task} takes {self.text}"

    def _refuse_shape(self, parameter: inspect.Parameter, annotation: object) -> None:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise self._undeclarable(
                stars + parameter.name, "can't be declared: arguments travel by name", "name each argument"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise self._undeclarable(
                parameter.name, "is positional-only, and arguments travel by name", "remove the / from the signature"
            )
        if isinstance(annotation, str):
            raise self._undeclarable(
                parameter.name, f"its annotation {annotation!r} can't be resolved", "import the name at run time"
            )

    def _types(self, name: str, annotation: object) -> Iterator[msgspec.inspect.Type]:
        """Every type in an annotation. Raises InvalidTask for one that has no JSON form."""
        try:
            codec.decoder(annotation)  # type: ignore[arg-type]  # unions and aliases are fine, too
            pending = [msgspec.inspect.type_info(annotation)]
        except Exception as error:
            raise self._undeclarable(name, str(error), "use a type with one JSON form") from None
        seen: set[int] = set()
        while pending:
            type_ = pending.pop()
            if id(type_) in seen:
                continue
            seen.add(id(type_))
            if isinstance(type_, msgspec.inspect.CustomType) and not (type_.cls is object or codec.is_model(type_.cls)):
                raise self._undeclarable(
                    name, f"{_shown(type_.cls)} has no JSON form", "use plain data, a dataclass or a model"
                )
            yield type_
            pending.extend(_within(type_))

    def _undeclarable(self, parameter: str, problem: str, fix: str) -> InvalidTask:
        return InvalidTask(problem, field=f"{self.task}.{parameter}", fix=fix)


def _resolve(function: Callable[..., object], name: str, annotation: Any) -> Any:
    """The annotation as a type; its text when a name in it isn't known at run time; Any when there is none."""
    if annotation is inspect.Parameter.empty:
        return Any
    plain = inspect.unwrap(function)
    names = getattr(plain, "__globals__", None) or vars(sys.modules[plain.__module__])
    # One parameter at a time, so that an error can name it and a context imported for type checkers only is no error.
    alone = SimpleNamespace(__annotations__={name: annotation})
    try:
        return get_type_hints(alone, names, include_extras=True)[name]
    except Exception:
        return annotation if isinstance(annotation, str) else str(annotation)


def _default(parameter: inspect.Parameter) -> Any:
    """The default as a Struct field's; a factory keeps msgspec from refusing or copying a mutable one."""
    value = parameter.default
    return msgspec.NODEFAULT if value is parameter.empty else msgspec.field(default_factory=lambda: value)


def _within(type_: object) -> Iterator[msgspec.inspect.Type]:
    """The types directly inside one: of its items, members and keys."""
    for name in getattr(type_, "__struct_fields__", ()):
        part = getattr(type_, name)
        for each in part if isinstance(part, tuple) else (part,):
            if isinstance(each, msgspec.inspect.Field):
                yield each.type
            elif isinstance(each, msgspec.inspect.Type):
                yield each


def _shown(annotation: object) -> str:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(annotation))
