"""The program as a person meets it: a process with arguments, two streams and an exit code."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from perdure.pg import embedded
from perdure.runtime.clock import monotonic
from tests import forge
from tests.servers import ground
from tests.tidy.source import ROOT

COMMAND = [sys.executable, "-m", "perdure"]
PATIENCE_SECONDS = 60.0
"""A bound on failure: nothing here takes a tenth of it."""

SHOP = """
import asyncio, os, time
from perdure import App

app = App("shop")

@app.task(queue="mail")
async def send_receipt(order_id: int, note: str = "") -> str:
    return f"receipt for order {order_id}"

@app.task(queue="mail", retry=__import__("perdure").Retry(max_attempts=1))
async def fails() -> None:
    raise ValueError("no paper")

@app.task(queue="slow")
async def wait_for(file: str) -> str:
    open(file + ".begun", "w").close()
    while not os.path.exists(file):
        await asyncio.sleep(0.01)
    return "found"
"""


def environment(url: str | None = None, **more: str) -> dict[str, str]:
    """What a process of the program is given: this repository, and the database if there is one."""
    named = {} if url is None else {"DATABASE_URL": url}
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100", "NO_COLOR": "1", **named, **more}


def perdure(
    *arguments: str | Path, url: str | None = None, cwd: Path | None = None, said: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end; ``said`` goes to its stdin."""
    words = [str(each) for each in arguments]
    with ExitStack() as closing:
        into, out, err = (closing.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3))
        into.write(said or "")
        into.seek(0)
        process = forge.start(
            words, env=environment(url, **more), cwd=cwd, stdin=into.fileno(), stdout=out.fileno(), stderr=err.fileno()
        )
        closing.callback(process.kill)
        code = process.wait(PATIENCE_SECONDS * 2)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([*COMMAND, *words], code, out.read(), err.read())


def answer(*arguments: str | Path, url: str | None = None, cwd: Path | None = None, said: str | None = None) -> str:
    """What the program writes to stdout when all is well."""
    ended = perdure(*arguments, url=url, cwd=cwd, said=said)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def refusal(ended: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error that the user has to mend: exit code 2, nothing on stdout, no traceback."""
    errors = [line for line in ended.stderr.splitlines() if not line.startswith("perdure: ")]
    assert (ended.returncode, ended.stdout, len(errors)) == (2, "", 1), ended
    assert errors[0].startswith("error: ")
    return errors[0]


def drawn(*arguments: str, url: str) -> str:
    """What the program writes when stdout is a terminal."""
    here, there = pty.openpty()
    process = forge.start(arguments, env=environment(url, TERM="xterm"), stdout=there, stderr=2)
    os.close(there)
    parts = []
    with suppress(OSError):  # how Linux says that the last one has closed it
        while part := os.read(here, 65_536):
            parts.append(part)
    os.close(here)
    assert process.wait(PATIENCE_SECONDS) == 0
    return b"".join(parts).decode()


@dataclass
class Program:
    """A process that goes on. ``heard`` are the lines it has said on stderr so far; ``silent``: it says no more."""

    process: forge.Forged
    heard: list[str]
    _changed: threading.Condition
    silent: bool = False

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def hear(self, word: str, times: int = 1) -> list[str]:
        """Wait until so many lines contain the word (an expression); those lines. What it has said before it ended is
        heard, too."""

        def said() -> list[str]:
            return [line for line in self.heard if re.search(word, line)]

        with self._changed:
            heard = self._changed.wait_for(lambda: len(said()) >= times or self.silent, PATIENCE_SECONDS)
            assert heard, f"never said {word!r}: {''.join(self.heard)}"
            assert len(said()) >= times, f"ended without {word!r}: {''.join(self.heard)}"
            return said()

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(PATIENCE_SECONDS)

    def listen(self, said: IO[str]) -> None:
        """On a thread: keep what it says."""
        with said:
            for line in said:
                with self._changed:
                    self.heard.append(line)
                    self._changed.notify_all()
        with self._changed:
            self.silent = True
            self._changed.notify_all()


@contextmanager
def running(
    *arguments: str, url: str | None = None, cwd: Path | None = None, to: str | Path = os.devnull, **more: str
) -> Iterator[Program]:
    """The program, killed at the end if it hasn't ended by then. ``to``: the file that its stdout goes to."""
    hearing, saying = os.pipe()
    with open(to, "w") as out:
        process = forge.start(arguments, env=environment(url, **more), cwd=cwd, stdout=out.fileno(), stderr=saying)
    os.close(saying)
    program = Program(process, [], threading.Condition())
    listener = threading.Thread(target=program.listen, args=(os.fdopen(hearing),), daemon=True)
    listener.start()
    try:
        yield program
    finally:
        process.kill()
        process.wait()
        # A child that it left would keep the pipe open; then the thread is left, too.
        listener.join(1.0)


@contextmanager
def postgres_home() -> Iterator[Path]:
    """A home for an embedded Postgres, in a directory that its user may enter; both are gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix="perdure-test-", dir=ground()))
    made.chmod(0o755)
    try:
        yield made / "home"
    finally:
        embedded.stop(made / "home")
        shutil.rmtree(made, ignore_errors=True)


def until(what: str, look: Callable[[], bool]) -> None:
    """Wait until something is true."""
    deadline, pause = monotonic() + PATIENCE_SECONDS, threading.Event()
    while not look():
        assert monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has asked about yet doesn't."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def children(pid: int) -> list[int]:
    """The processes that this one has started, and those that they have."""
    try:
        direct = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # it has ended meanwhile
    return direct + [inner for each in direct for inner in children(each)]


def command_line(pid: int) -> str:
    """What a listing of processes shows of it."""
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
