"""What a handler leaves behind while it runs: how far it has come, for whoever runs its job next, and for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import msgspec


class Save(msgspec.Struct, frozen=True, gc=False):
    """A checkpoint to be written. (id, generation) is its fence; ``serial`` counts the saves of this run, so that none
    overtakes a later one. ``version``: of the state's form. ``value``: the state as JSON text."""

    id: int
    generation: int
    serial: int
    version: int
    value: str


class Kept(msgspec.Struct, frozen=True):
    """A checkpoint that was found. ``advanced_in``: the generation that last saved something new."""

    generation: int
    version: int
    value: Any
    saved_at: datetime
    advanced_in: int


class Report(msgspec.Struct, frozen=True, gc=False):
    """What a handler says about its progress: ``n`` of ``total``, in whatever it counts."""

    id: int
    generation: int
    n: float
    total: float | None
    message: str | None


class Unfit(Exception):
    """A checkpoint of a version that this code can't go on from."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


StateUpgrade: TypeAlias = Callable[[Any], Any]
"""Makes the saved state of one version into that of the next."""


def fitted(found: Kept, version: int, upgrades: Mapping[int, StateUpgrade]) -> Kept:
    """The checkpoint in the form of this version. Raises Unfit when it is of a later one, or when a step is missing:
    to begin from nought, as if nothing had been saved, is never meant. Raises what an upgrade raises."""
    if found.version > version:
        raise Unfit(found.version)
    value = found.value
    for step in range(found.version, version):
        if step not in upgrades:
            raise Unfit(found.version)
        value = upgrades[step](value)
    return msgspec.structs.replace(found, version=version, value=value)
