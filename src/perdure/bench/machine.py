"""What the machine is doing: how busy its cores are, and how much memory a process holds. None where it can't tell."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)  # the columns idle and iowait of /proc/stat, see proc(5)


@dataclass(frozen=True, slots=True)
class Ticks:
    """The kernel's clock ticks of all cores since the machine started: all of them, and those without work."""

    total: int
    idle: int


def ticks() -> Ticks | None:
    """The ticks so far."""
    try:
        with open("/proc/stat") as stat:
            columns = [int(each) for each in stat.readline().split()[1:9]]
    except OSError:
        return None
    return Ticks(sum(columns), sum(columns[each] for each in _IDLE))


def busy(begin: Ticks | None, end: Ticks | None) -> float | None:
    """The share of the time between that the cores, all together, had work: 0 to 1."""
    if begin is None or end is None or end.total == begin.total:
        return None
    return 1 - (end.idle - begin.idle) / (end.total - begin.total)


def rss_bytes(pid: int) -> int | None:
    """The memory that a process holds now (resident set)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return None


def cpu_seconds(pid: int) -> float | None:
    """The processor time that a process has used so far."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_SECOND
