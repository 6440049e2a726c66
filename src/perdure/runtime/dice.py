"""The real dice: jitter, and what must not be guessed twice."""

from __future__ import annotations

import os
import random
import secrets
import uuid

_SYSTEM = random.Random()
os.register_at_fork(after_in_child=_SYSTEM.seed)  # or a fork server's children would all roll alike
roll = _SYSTEM.random
"""A uniform draw from [0, 1)."""


def jittered(seconds: float, spread: float = 0.1) -> float:
    """The span, up to ``spread`` shorter or longer, so that many processes don't act in step."""
    return seconds * (1.0 + spread * (2.0 * roll() - 1.0))


def token() -> str:
    """A new id of 122 random bits (RFC 9562, version 4), in hex."""
    return uuid.uuid4().hex


def seeded(seed: str) -> random.Random:
    """Dice that fall the same way for the same seed."""
    return random.Random(seed)


def secret() -> str:
    """A text that nobody guesses."""
    return secrets.token_urlsafe(24)
