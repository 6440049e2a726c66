"""What the doctor finds, and what a check of it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..core.op import Op

Status: TypeAlias = Literal["ok", "warn", "fail", "skipped"]

SEVERITY: Mapping[Status, int] = {"ok": 0, "skipped": 0, "warn": 1, "fail": 2}
"""How bad a status is, and what the command ends with. What couldn't be looked at is no ``ok``, and no alarm."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``message``: what it means and what to do, in a sentence. ``evidence``: the figures."""

    check: str
    status: Status
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined: a database, the schema in it, and the migrations that this code has and it lacks."""

    url: str
    schema: str
    pending: Sequence[tuple[str, str]] = ()
    """(phase, title) of each migration."""
    pooled: bool = False
    """Whether the URL leads to a pooler; ``direct``: whether there is a direct URL, too."""
    direct: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One question to a system. ``name`` is ``topic.word``, or ``topic.*`` when it finds several things of a kind.

    ``examine``: an op that only reads, in a transaction of its own. ``seconds``: what its statements may take; a check
    that takes longer, or lacks a privilege, is skipped. ``needs_schema``: it reads our own tables.
    """

    name: str
    asks: str
    examine: Callable[[Subject], Op[list[Finding]]]
    seconds: float = 2.0
    needs_schema: bool = True
