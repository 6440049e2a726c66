"""Python's collector of cycles, in a process that does nothing but work."""

from __future__ import annotations

import gc

FULL_EVERY = 100
"""Collections of what has lived for a while between two of everything. Python's own figure is 10."""

PYTHONS_OWN = 10


def spare() -> None:
    """Have it look through everything less often, and never again through what is there now: the modules and the app.

    A full collection visits every container and stops the process meanwhile: 70 to 140 ms with a thousand runs in hand,
    once for five thousand steps. What the app has set by itself stays. (The Python manual, gc: freeze, set_threshold.)
    """
    gc.collect()
    gc.freeze()
    young, middle, full = gc.get_threshold()
    if full == PYTHONS_OWN:
        gc.set_threshold(young, middle, FULL_EVERY)
