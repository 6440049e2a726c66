"""What the machine tells about itself."""

from __future__ import annotations

import os
import subprocess

from perdure.bench.machine import Ticks, busy, cpu_seconds, rss_bytes


def test_the_busy_share_is_of_the_time_between() -> None:
    """Of 100 ticks of which 25 were idle, three quarters were work; unknown where either end is."""
    assert busy(Ticks(1_000, 500), Ticks(1_100, 525)) == 0.75
    assert busy(Ticks(1_000, 500), Ticks(1_000, 500)) is None
    assert busy(None, Ticks(1_000, 500)) is None


def test_a_process_holds_memory_and_uses_time() -> None:
    """A running process has more than a megabyte and has used time; one that is gone tells nothing."""
    ended = subprocess.Popen(["true"])
    ended.wait()

    assert (rss_bytes(os.getpid()) or 0) > 1_000_000
    assert (cpu_seconds(os.getpid()) or 0) > 0
    assert (rss_bytes(ended.pid), cpu_seconds(ended.pid)) == (None, None)
