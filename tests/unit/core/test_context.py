"""The envelope: a whitelist of short texts, captured one hop on, and never more than was bound."""

from __future__ import annotations

import msgspec
import pytest

from perdure.core import context
from perdure.core.context import EMPTY, Envelope
from perdure.core.errors import InvalidOption

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Step(msgspec.Struct):
    """A step with an envelope of its own."""

    envelope: Envelope
    cause: str | None


def test_what_is_bound_is_captured_inside_the_block_only() -> None:
    """A block's words stand on top of those around it and go with it; None takes one away [ARC-2]. Red without the
    reset at the end of the block."""
    assert (context.current(), context.captured()) == (EMPTY, None)

    with context.bind(tenant="acme", actor="user:7"):
        with context.bind(actor=None, traceparent=TRACE):
            inside = context.captured()
        outside = context.captured()

    assert msgspec.json.decode(inside or "") == {"v": 1, "tenant": "acme", "traceparent": TRACE}
    assert msgspec.json.decode(outside or "") == {"v": 1, "tenant": "acme", "actor": "user:7"}
    assert (context.current(), context.captured()) == (EMPTY, None)


def test_a_step_hands_its_chain_on_and_names_itself_as_the_cause() -> None:
    """What follows a step is caused by it, in the chain it belongs to; a step without one begins it [ARC-4]. Guard:
    ``following``, which every enqueue goes through."""
    first = msgspec.json.decode(context.following(Step(EMPTY, "job:1")) or "")
    second = context.read(first)
    third = msgspec.json.decode(context.following(Step(second.but(replayed_by="bob"), "job:2")) or "")

    assert first == {"v": 1, "correlation_id": "job:1", "causation_id": "job:1"}
    assert third == {"v": 1, "correlation_id": "job:1", "causation_id": "job:2"}


def test_a_context_that_was_accepted_goes_all_the_way() -> None:
    """The size is that of what people say: what the chain adds at each hop can't make a context too large that was
    accepted at its first step, and what a step binds on top of it still can [ARC-4, ARC-1]. Red when the cause and the
    chain's name count."""
    first = Envelope(tenant="t" * 255, actor="a" * 255, origin="é" * 236)
    assert len((context.stored(first) or "").encode()) == 1_024

    second = context.read(msgspec.json.decode(context.following(Step(first, "job:1")) or ""))
    third = context.read(msgspec.json.decode(context.following(Step(second, f"job:{2**62}")) or ""))

    assert (third.tenant, third.correlation_id, third.causation_id) == (first.tenant, "job:1", f"job:{2**62}")
    with pytest.raises(InvalidOption, match="bytes"):
        context.following(Step(third.but(origin="é" * 255), "job:3"))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("authorization", "x"),
        ("session_cookie", "x"),
        ("request", object()),
        ("actor", "Bearer abcdef"),
        ("actor", "Basic dXNlcjpwYXNz"),
        ("tenant", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"),
        ("origin", "sk_live_51Habcdef"),
        ("actor", "github_pat_11ABCDEFG0abcdefghij"),
        ("actor", "glpat-abcdefghijklmnopqrst"),
        ("actor", "sk-proj-abcdefghijklmnopqrst"),
        ("actor", "AIzaSyAabcdefghijklmnopqrstuvwxyz"),
        ("actor", "SG.abcdefghijklmnopqrst.uvw"),
        ("actor", "sessionid=abc"),
        ("actor", "token:abc"),
        ("correlation_id", "-----BEGIN PRIVATE KEY-----"),
        ("tenant", object()),
        ("tenant", "t" * 256),
        ("traceparent", "00-xyz"),
    ],
)
def test_what_a_context_can_not_carry_is_refused_by_name(word: str, value: object) -> None:
    """A word that isn't on the list, a credential and an object are refused, naming the word [ARC-3]. Red when the
    words aren't a whitelist, or values aren't looked at."""
    with pytest.raises(InvalidOption) as refused:
        context.of({word: value})

    assert refused.value.field == f"context.{word}"
    assert refused.value.fix


def test_a_context_that_somebody_spoilt_is_read_as_far_as_it_can_be() -> None:
    """A stored form with unknown words, or values that aren't texts, gives what is left: the job isn't lost for it."""
    spoilt = {"v": 9, "tenant": "acme", "actor": 7, "colour": "red", "traceparent": "none"}

    assert context.read(spoilt) == Envelope(tenant="acme")
    nothing: list[object] = [None, 3, [], "x"]
    assert [context.read(each) for each in nothing] == [EMPTY] * 4
