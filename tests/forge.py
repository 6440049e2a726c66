"""Processes of the program without the price of its imports, which are most of what a short one costs.

One process of each test session, the forge, has imported the program once, and forks a copy of itself for every call:
a process of its own, with the arguments, environment, directory and streams it is given, which hears signals, and ends
as ``python -m perdure`` would. Tests of how the interpreter itself is started start one instead.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from select import select
from typing import Any, NoReturn

from tests.tidy.source import ROOT

_LENGTH_BYTES = 4
_STREAMS = 3


class Forged:
    """A process of the program, with what ``subprocess.Popen`` has of the same name."""

    def __init__(self, pid: int, ending: int) -> None:
        self.pid, self._ending = pid, ending
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs; for one that a signal has killed its number, negative."""
        if self.returncode is None and select([self._ending], [], [], 0)[0]:
            self.returncode = int(os.read(self._ending, 16))
            os.close(self._ending)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""
        if self.returncode is None and not select([self._ending], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(["perdure"], timeout or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Send the signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int | None = None,
    stdout: int,
    stderr: int,
) -> Forged:
    """Start ``perdure ARGUMENTS`` with these file descriptors; without a ``stdin`` it reads nothing."""
    ending, told = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    said = json.dumps([list(arguments), dict(env), str(cwd or Path.cwd()), deaf]).encode()
    try:
        with _TURN:
            sock = _forge()
            fds = [nothing if stdin is None else stdin, stdout, stderr, told]
            socket.send_fds(sock, [len(said).to_bytes(_LENGTH_BYTES, "big")], fds)
            sock.sendall(said)
            pid = int.from_bytes(sock.recv(_LENGTH_BYTES, socket.MSG_WAITALL), "big")
    finally:
        os.close(nothing)
        os.close(told)
    assert pid, "the forge has ended"
    return Forged(pid, ending)


_TURN = threading.Lock()
_FORGES: list[subprocess.Popen[bytes]] = []


@cache
def _forge() -> socket.socket:
    """The socket of this session's forge, which ends when the session lets go of it."""
    ours, theirs = socket.socketpair()
    with theirs:
        words = [sys.executable, "-m", __name__, str(theirs.fileno())]
        _FORGES.append(
            subprocess.Popen(
                words, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
        )
    return ours


def main() -> None:
    """The forge: import everything, then fork whenever it is asked to."""
    from perdure.cli.program import COMMANDS

    for name in COMMANDS:
        if name != "dev":  # whose tests put a module of their own in the way of what it imports
            import_module(f"perdure.cli.{name}")
    gc.collect()
    gc.freeze()
    children: dict[int, int] = {}
    waking, wake = os.pipe()
    for end in (waking, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        watched: list[Any] = [sock, waking]
        while True:
            ready, _, _ = select(watched, [], [])
            if waking in ready:
                os.read(waking, 65_536)
                _bury(children)
            if sock in ready:
                length, fds, _, _ = socket.recv_fds(sock, _LENGTH_BYTES, _STREAMS + 1)
                if not length:
                    return
                said = json.loads(sock.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    for fd in (sock.detach(), waking, wake, fds[_STREAMS], *children.values()):
                        os.close(fd)
                    _be(fds[:_STREAMS], *said)
                children[pid] = fds[_STREAMS]
                for fd in fds[:_STREAMS]:
                    os.close(fd)
                sock.sendall(pid.to_bytes(_LENGTH_BYTES, "big"))


def _bury(children: dict[int, int]) -> None:
    """Tell how those have ended that have."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            told = children.pop(ended[0])
            with suppress(BrokenPipeError):  # nobody waits for it any more
                os.write(told, str(os.waitstatus_to_exitcode(ended[1])).encode())
            os.close(told)


def _be(streams: Sequence[int], arguments: list[str], env: dict[str, str], cwd: str, deaf: bool) -> NoReturn:
    """Be the program, as an interpreter would that has just been started."""
    code: Any = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN if deaf else signal.default_int_handler)
        for to, fd in enumerate(streams):
            os.dup2(fd, to)
        for fd in streams:
            os.close(fd)
        sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
        before = [*_path_of(os.environ), *sys.path[:1]]
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.path[:] = [cwd, *_path_of(env), *(each for each in sys.path[1:] if each not in before)]
        sys.argv[1:] = arguments
        import_module("perdure.runtime.faults").arm(env.get("PERDURE_FAULT", ""))
        runpy.run_module("perdure", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code
        if code is not None and not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code or 0)


def _path_of(env: Mapping[str, str]) -> list[str]:
    return [each for each in env.get("PYTHONPATH", "").split(os.pathsep) if each]


if __name__ == "__main__":
    main()
