"""The release before this one, as its wheel: what a fleet runs while it is being upgraded."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
SECONDS_MAX = 60.0


def unpacked(folder: Path) -> Path:
    """The release's package, in a folder for ``PYTHONPATH``."""
    (wheel,) = HERE.glob("perdure-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


class Program:
    """A Python process on one release (None: the one under test), with what it says in a file."""

    def __init__(self, release: Path | None, url: str, home: Path, log: IO[str], *words: str) -> None:
        self.log = Path(log.name)
        path = [str(home), *sys.path] if release is None else [str(home), str(release), *sys.path]
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=home,
            env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=log,
        )

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(SECONDS_MAX)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        return self.wait()

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.wait()

    def said(self) -> str:
        """Everything it has said."""
        return self.log.read_text()
