"""The context of a piece of work: who asked for it, on whose behalf, and what it is part of.

An ``Envelope`` is bound for a block of code (``bind``), captured by every enqueue in it, kept in the job's own column
beside the arguments, and bound again for the one execution of its handler. It is a whitelist: seven words, each a short
text. What authorises, and what belongs to one request only (cookies, sessions, objects), can't be put in.

The chain: ``correlation_id`` stays the same from the request to the last thing done for it, ``causation_id`` names the
step before and changes at each hop. A job that has no correlation id is the beginning of its own chain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

import msgspec

from . import check, limits
from .errors import InvalidOption

VERSION: Final = 1
"""Of the stored form. A reader drops the words that it doesn't know."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, 3.2: version, trace id, parent id, flags."""

_SECRET_NAME = re.compile(r"auth|token|secret|passw|cookie|session|credential|api_?key|private", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"^(?:(?:bearer|basic)\s|eyJ[\w-]+\.[\w-]+\.|(?:sk|pk|rk)_(?:live|test)_|gh[pousr]_\w{20}|github_pat_|glpat-"
    r"|xox[abepr]-|AKIA[A-Z0-9]{12}|AIza[\w-]{20}|sk-[\w-]{16}|hf_\w{16}|SG\.[\w-]{16}|whsec_"
    r"|(?:session_?id|sid|token|secret|api_?key|password)[=:]|\w+://[^/\s]*:[^/\s]*@)"
    r"|-----BEGIN|password=",
    re.IGNORECASE,
)
"""What credentials look like: HTTP schemes, JSON web tokens, PEM blocks, keys of well-known makers, URLs with one."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The context of one piece of work. Every word is a text of at most 255 characters, or None.

    ``correlation_id``: the same through everything that is done for one request. ``causation_id``: the step before this
    one, as ``job:123``. ``traceparent``: of W3C Trace Context. ``tenant``: for whom. ``actor``: who asked, as
    ``user:7``. ``origin``: where it began, as ``http`` or ``schedule:nightly``. ``replayed_by``: who ran it again.
    Raises InvalidOption, naming the word: for a value that isn't such a text, and for what looks like a credential.
    """

    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    tenant: str | None = None
    actor: str | None = None
    origin: str | None = None
    replayed_by: str | None = None

    def __post_init__(self) -> None:
        for word in WORDS:
            if (value := getattr(self, word)) is not None:
                _check(word, value)

    def __bool__(self) -> bool:
        return any(getattr(self, word) is not None for word in WORDS)

    def but(self, **words: str | None) -> Envelope:
        """A copy with these words changed. Raises InvalidOption for another word, or a value that isn't allowed."""
        return of({**msgspec.structs.asdict(self), **words})


WORDS: Final = Envelope.__struct_fields__
EMPTY: Final = Envelope()


class Frame(Protocol):
    """What the code that runs now works under: an envelope, and the name of the step that it is (``job:123``)."""

    @property
    def envelope(self) -> Envelope: ...  # noqa: D102
    @property
    def cause(self) -> str | None: ...  # noqa: D102


class _Bound(msgspec.Struct, frozen=True):
    envelope: Envelope
    cause: str | None


_frame: ContextVar[Frame | None] = ContextVar("perdure.context", default=None)


def current() -> Envelope:
    """The envelope that is bound here; an empty one where none is."""
    frame = _frame.get()
    return EMPTY if frame is None else frame.envelope


def frame() -> Frame | None:
    """What the code that runs now works under."""
    return _frame.get()


@contextmanager
def bind(**words: str | None) -> Iterator[Envelope]:
    """Bind these words for a block, on top of what is bound around it; None takes one away.

    What is enqueued in the block carries them. Raises InvalidOption, naming the word.
    """
    frame = _frame.get()
    bound = _Bound(current().but(**words), None if frame is None else frame.cause)
    token = _frame.set(bound)
    try:
        yield bound.envelope
    finally:
        _frame.reset(token)


enter = _frame.set
"""Bind a frame as it is, until ``leave``."""

leave = _frame.reset


def portable() -> Frame | None:
    """The frame as something that travels to another process: without what else its holder knows."""
    frame = _frame.get()
    return None if frame is None else _Bound(frame.envelope, frame.cause)


def captured() -> str | None:
    """What an enqueue here stores: the envelope that is bound, one hop on. None when there is nothing to store."""
    frame = _frame.get()
    return None if frame is None else following(frame)


def following(frame: Frame) -> str | None:
    """The stored form of what comes after a frame: caused by it, in the same chain, which a first step begins."""
    envelope, cause = frame.envelope, frame.cause
    if cause is not None:
        words = msgspec.structs.asdict(envelope)
        words.update(causation_id=cause, correlation_id=envelope.correlation_id or cause, replayed_by=None)
        envelope = msgspec.convert(words, Envelope)
        # What the chain writes into it doesn't count: what was accepted at its first step goes all the way.
        _check_size(_encoded(envelope.but(causation_id=None, correlation_id=None)))
        return _encoded(envelope).decode()
    return stored(envelope)


def of(words: object) -> Envelope:
    """The envelope of a mapping, or the envelope itself. Raises InvalidOption for a word that isn't one of WORDS."""
    if isinstance(words, Envelope):
        return words
    if not isinstance(words, Mapping):
        raise InvalidOption(f"got {type(words).__name__}", field="context", fix="give an Envelope, or words by name")
    for word in words:
        if word not in WORDS:
            secret = " and sounds like a secret, which none can carry" if _SECRET_NAME.search(str(word)) else ""
            problem, fix = f"isn't a word of a context{secret}", f"use {', '.join(WORDS)}"
            raise InvalidOption(problem, field=f"context.{word}", fix=fix)
    return Envelope(**words)


def stored(envelope: Envelope) -> str | None:
    """The envelope as JSON text, with its version; None for an empty one. Raises InvalidOption when it is too large."""
    if not envelope:
        return None
    text = _encoded(envelope)
    _check_size(text)
    return text.decode()


def checked(said: object) -> str:
    """The stored form of what an enqueuer said: an Envelope, its words, or a stored form; empty for an empty one.

    Raises InvalidOption.
    """
    if isinstance(said, str):
        try:
            words = msgspec.json.decode(said) if said else {}
        except msgspec.DecodeError:
            raise InvalidOption("is no JSON", field="context", fix="give an Envelope, or words by name") from None
        said = {word: value for word, value in words.items() if word != "v"} if isinstance(words, dict) else words
    return stored(of(said)) or ""


def read(words: object) -> Envelope:
    """The envelope of a stored form that was decoded. What this version doesn't know, or can't take, is left out: a job
    must not be lost for the sake of its context."""
    found: dict[str, str] = {}
    for word, value in words.items() if isinstance(words, Mapping) else ():
        if word in WORDS and isinstance(value, str):
            try:
                _check(word, value)
            except InvalidOption:
                continue
            found[word] = value
    return Envelope(**found) if found else EMPTY


def _encoded(envelope: Envelope) -> bytes:
    return msgspec.json.encode({"v": VERSION, **msgspec.to_builtins(envelope)})


def _check_size(text: bytes) -> None:
    if len(text) > limits.CONTEXT_BYTES_MAX:
        raise InvalidOption(
            f"has {len(text):,} bytes", field="context", fix=f"give at most {limits.CONTEXT_BYTES_MAX:,}: ids, not data"
        )


def _check(word: str, value: object) -> None:
    field = f"context.{word}"
    text = check.text(field, value, limits.CONTEXT_CHARS_MAX)
    if _SECRET_VALUE.search(text):
        raise InvalidOption("looks like a credential, which a context can't carry", field=field, fix="give an id")
    if word == "traceparent" and not _TRACEPARENT.fullmatch(text):
        fix = "give version-trace-parent-flags, in hex"
        raise InvalidOption("is no traceparent of W3C Trace Context", field=field, fix=fix)
