"""How far work has come that is done out of order: a low-water mark for each partition, and what is done above it.

A single number can't say it: with items 1 to 10 under way at once, and 3 still running when the process dies, starting
after 10 would skip 3, and starting after 2 would do seven items again. The state is plain data, to be saved as a
checkpoint, and small while the slow ones aren't far behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from . import limits
from .errors import InvalidOption


class Mark(TypedDict):
    """One partition's state: everything up to ``low`` is done, and so is what ``above`` lists."""

    low: int
    above: list[int]


class LowWater:
    """Positions that are done, of items numbered in each partition: 1, 2, 3, … without a gap.

    ``state`` is what was saved, None for the beginning. Ask ``is_done`` before an item is worked on, and say ``done``
    after it; save ``state`` as often as redoing is dear. Not for several threads at once.
    """

    def __init__(self, state: Mapping[str, Mark] | None = None) -> None:
        self._low = {partition: mark["low"] for partition, mark in (state or {}).items()}
        self._above = {partition: set(mark["above"]) for partition, mark in (state or {}).items()}

    def low(self, partition: str = "") -> int:
        """The position up to which everything is done; 0 at the beginning."""
        return self._low.get(partition, 0)

    def is_done(self, position: int, partition: str = "") -> bool:
        """Whether this item needn't be worked on again."""
        return position <= self.low(partition) or position in self._above.get(partition, ())

    def done(self, position: int, partition: str = "") -> None:
        """Note that this item is done.

        Raises InvalidOption for what is no position, and when LOW_WATER_ABOVE_MAX items are done above one that isn't:
        the state would grow without end, so wait for the slow one before others are begun.
        """
        if isinstance(position, bool) or not isinstance(position, int) or position < 1:
            raise InvalidOption(f"{position!r} is no position", field="position", fix="number the items from 1")
        above, low = self._above.setdefault(partition, set()), self.low(partition)
        if position <= low:
            return
        above.add(position)
        while low + 1 in above:
            low += 1
            above.discard(low)
        self._low[partition] = low
        if len(above) > limits.LOW_WATER_ABOVE_MAX:
            raise InvalidOption(
                f"{len(above):,} items are done after {low + 1}, which isn't",
                field="position",
                fix="wait for the slow item before more are begun",
            )

    @property
    def state(self) -> dict[str, Mark]:
        """What to save."""
        return {
            partition: {"low": low, "above": sorted(self._above[partition])} for partition, low in self._low.items()
        }
