"""Which source files have changed, found out by looking.

A look at the few hundred files of an application costs some milliseconds and works on every file system, network ones
and containers' mounts included, on which the kernel's notifications stay silent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

LOOK_SECONDS = 0.4
SUFFIXES = (".py", ".pyi", ".sql", ".toml")
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})

Snapshot: TypeAlias = dict[str, tuple[int, int]]
"""The source files with their times of modification (nanoseconds) and sizes."""


def snapshot(root: Path) -> Snapshot:
    """What is under the directory now. Hidden directories and virtual environments are left out."""
    found: Snapshot = {}
    for path in _sources(str(root)):
        try:
            status = os.stat(path)
        except OSError:  # an editor replaces a file by renaming another one
            continue
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """The files that were changed, added or removed, by name."""
    return sorted({path for path, _ in before.items() ^ after.items()})


async def change(root: Path, before: Snapshot) -> list[str]:
    """Wait until something is another than it was, and return what."""
    while True:
        found = difference(before, await asyncio.to_thread(snapshot, root))
        if found:
            return found
        await asyncio.sleep(LOOK_SECONDS)


def _sources(directory: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if not entry.name.startswith(".") and entry.name not in SKIPPED:
                yield from _sources(entry.path)
        elif entry.name.endswith(SUFFIXES):
            yield entry.path
