"""What memory this process may use, by its control groups and not by the size of the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_UNBOUNDED = 1 << 60
"""What version 1 says for no limit is a number above this."""


def budget_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The least of what this process's control groups allow, all ancestors included, and what the machine has.

    None where neither is told, as on systems other than Linux.
    """
    found = [*_groups(proc, cgroups), *_machine(proc)]
    return min(found) if found else None


def _groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """The limits of every group from this process's own up to the root; a container may see only some of them."""
    for line in _lines(proc / "self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            for root in (cgroups, cgroups / "unified"):
                yield from _upwards(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _upwards(cgroups / "memory", path, "memory.limit_in_bytes")


def _upwards(root: Path, path: str, name: str) -> Iterator[int]:
    group = root / path.lstrip("/")
    for each in (group, *group.parents):
        if each.is_relative_to(root):
            for line in _lines(each / name):
                if line.isdigit() and int(line) < _UNBOUNDED:  # version 2 says "max" for no limit
                    yield int(line)


def _machine(proc: Path) -> Iterator[int]:
    for line in _lines(proc / "meminfo"):
        name, _, value = line.partition(":")
        if name == "MemTotal":
            yield int(value.split()[0]) * 1024


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def bound(bytes_max: int) -> None:
    """Let this process allocate so many bytes and no more, and be the first to be ended when the machine runs out."""
    import resource

    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = bytes_max if hard == resource.RLIM_INFINITY else min(bytes_max, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    with contextlib.suppress(OSError):
        Path(f"/proc/{os.getpid()}/oom_score_adj").write_text("1000")
