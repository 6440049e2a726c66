"""The ASGI middleware: what a request says is bound while it is answered, and spoilt headers harm nobody."""

from __future__ import annotations

from typing import Any

from perdure import Envelope, context
from perdure.contrib.asgi import ContextMiddleware

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def _asked(headers: dict[str, str], **words: Any) -> tuple[Envelope, dict[bytes, bytes]]:
    """What was bound while a request with these headers was answered, and the headers of the answer."""
    seen: list[Envelope] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(context.current())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Request-Id", b"the app's own")]})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads the body")

    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await ContextMiddleware(app, **words)({"type": "http", "headers": pairs, "tenant": "acme"}, receive, send)
    assert context.current() == Envelope()
    return seen[0], dict(sent[0]["headers"])


async def test_a_request_binds_its_trace_tenant_and_id() -> None:
    """Trace, tenant and request id of a request are bound while it is answered, and no longer; the response has the id
    [ARC-1]. Red without the binding around the application."""
    bound, answered = await _asked(
        {"Traceparent": TRACE, "X-Request-Id": "r-1"}, tenant=lambda scope: scope["tenant"], origin="api"
    )

    assert bound == Envelope(traceparent=TRACE, tenant="acme", correlation_id="r-1", origin="api")
    assert answered == {b"x-request-id": b"r-1"}


async def test_headers_that_can_not_be_taken_are_made_anew_or_left_out() -> None:
    """A request id with a newline or of 10 kB is replaced, a malformed trace left out; the request is answered
    [KIT-48]. Red without the pattern of a request id."""
    for spoilt in ("a\nb", "x" * 10_000, "", "ü"):
        bound, answered = await _asked({"x-request-id": spoilt, "traceparent": "00-0-0-00"})

        assert bound.traceparent is None
        assert bound.correlation_id != spoilt
        assert len(bound.correlation_id or "") == 32
        assert answered == {b"x-request-id": (bound.correlation_id or "").encode()}
