"""The context of a request, for any ASGI application (FastAPI, Starlette, Django): bound while it is answered."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from ..core import context
from ..core.errors import InvalidOption
from ..runtime.dice import token

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Word: TypeAlias = Callable[[Scope], str | None]

REQUEST_ID = b"x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")
"""What is taken from a caller as it is; anything else could spoil a log."""


class ContextMiddleware:
    """Binds ``traceparent``, ``correlation_id`` and ``origin`` of each request, and what ``tenant`` and ``actor`` make
    of its scope. The response repeats the correlation id as ``X-Request-Id``.

    A header that is malformed is left out, and a request id made anew: a request isn't refused for them.
    """

    def __init__(
        self, app: Asgi, *, tenant: Word | None = None, actor: Word | None = None, origin: str = "http"
    ) -> None:
        self._app, self._tenant, self._actor, self._origin = app, tenant, actor, origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hold one connection, in its context."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in scope.get("headers", ())}
        said = headers.get(REQUEST_ID, "")
        correlation = said if _REQUEST_ID.fullmatch(said) else token()

        async def answer(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                kept = [pair for pair in message.get("headers", ()) if bytes(pair[0]).lower() != REQUEST_ID]
                message["headers"] = [*kept, (REQUEST_ID, correlation.encode())]
            await send(message)

        words = {
            "tenant": self._tenant(scope) if self._tenant else None,
            "actor": self._actor(scope) if self._actor else None,
        }
        with context.bind(
            correlation_id=correlation, traceparent=_trace(headers), causation_id=None, origin=self._origin, **words
        ):
            await self._app(scope, receive, answer)


def _trace(headers: dict[bytes, str]) -> str | None:
    said = headers.get(b"traceparent")
    try:
        return context.Envelope(traceparent=said).traceparent
    except InvalidOption:
        return None
