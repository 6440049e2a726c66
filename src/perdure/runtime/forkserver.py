"""The fork server: a process that has imported the application once, and forks a child for each socket it is sent.

Started by ``nursery``. A child costs a fork and no import. It is
killed when the server learns that the worker is gone, by the end of their socket, and by the kernel when the server is.

What it imports it imports in the order of the worker: first the module in which the application was found, which may
set up what the others need.

The server has one thread: what a fork would copy of others are the locks they hold. An application that starts threads
when it is imported is found out, and its children import it for themselves, in the same order.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

from ..core.errors import Unsupported
from . import faults, parent

_PROGRAM = f"from {__name__} import main; main()"

Serve = Callable[[socket.socket], None]

_within_main = False
"""Whether this process imports the program that its worker was started from."""


def refuse_within_main(what: str) -> None:
    """Raise Unsupported in a child's import of the program that its worker was started from."""
    if _within_main:
        raise Unsupported(
            "is called when the program is imported, which children of a worker do",
            field=what,
            fix='call it under `if __name__ == "__main__":`',
        )


def main() -> None:
    """The process."""
    settings: dict[str, Any] = json.loads(sys.argv[1])
    if not parent.bound_to(settings["parent"], signal.SIGKILL):
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        # A Ctrl-C or a service manager tells every process to go; the worker decides when its children do.
        signal.signal(number, _nothing)
    faults.keep_childs()
    sys.path[:] = settings["path"]
    if not settings["bare"]:
        _import(settings)
        if threading.active_count() > 1:
            bare = json.dumps({**settings, "bare": True})
            os.execv(sys.executable, [sys.executable, "-c", _PROGRAM, bare])
    serve: Serve = _found(settings["serve"])
    gc.collect()
    gc.freeze()  # what is there now stays shared with the children
    with socket.socket(fileno=settings["socket"]) as sock:
        _Server(sock, partial(_serve_bare, settings, serve) if settings["bare"] else serve).run()


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler and not SIG_IGN, which programs that a child starts would inherit."""


def _serve_bare(settings: dict[str, Any], serve: Serve, sock: socket.socket) -> None:
    """In a child of a server that has imported nothing."""
    _import(settings)
    serve(sock)


def _import(settings: dict[str, Any]) -> None:
    """Import the application. What fails here fails again in the child that needs it, and is reported there.

    The worker's own ``__main__`` comes first where it has tasks. Elsewhere it is imported only for modules that can't
    be without it: what it does when it is imported was meant to be done once.
    """
    first, modules, main = settings["first"], settings["modules"], settings["main"]
    has_tasks = "__main__" in modules
    if has_tasks and main is not None:
        _tried(_import_main, *main)
    if first is not None:
        _tried(importlib.import_module, first)
    _prepare(settings)
    left = [name for name in modules if name != "__main__" and not _tried(importlib.import_module, name)]
    if left and main is not None and not has_tasks:
        _tried(_import_main, *main)
        for name in left:
            _tried(importlib.import_module, name)
    _prepare(settings)


def _prepare(settings: dict[str, Any]) -> None:
    """Before the modules of tasks, which may need it, and again after everything: what came with those is prepared."""
    if settings["prepare"] is not None:
        address, *arguments = settings["prepare"]
        _tried(_found(address), *arguments)


def _tried(act: Callable[..., object], *arguments: Any) -> bool:
    """Do it; whether that went well. A program without a guard may leave, too."""
    try:
        act(*arguments)
    except (Exception, SystemExit):
        return False
    return True


def _found(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)


def _import_main(path: str, package: str | None) -> None:
    """The worker's own ``__main__``, under the name by which its guard knows that it isn't run."""
    global _within_main
    spec = importlib.util.spec_from_file_location("__mp_main__", path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        module.__package__ = package
        _within_main = True
        try:
            spec.loader.exec_module(module)
        finally:
            _within_main = False
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module


class _Server:
    """Forks when asked, and tells how children ended: lines of ``born PID`` and ``ended PID CODE``."""

    def __init__(self, sock: socket.socket, serve: Serve) -> None:
        self._sock, self._serve, self._pid = sock, serve, os.getpid()
        self._children: set[int] = set()
        self._waking, self._wake = os.pipe()
        for end in (self._waking, self._wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the worker is gone."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            selector.register(self._waking, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._waking in ready:
                    os.read(self._waking, 65_536)
                    self._reap()
                if self._sock in ready and not self._asked():
                    break
        for pid in self._children:
            kill(pid)
        for pid in self._children:
            os.waitpid(pid, 0)

    def _asked(self) -> bool:
        """Fork one; False when nobody is left who could ask."""
        try:
            said, descriptors, _, _ = socket.recv_fds(self._sock, 1, 1)
        except OSError:
            return False
        if not said:
            return False
        for descriptor in descriptors:
            pid = os.fork()
            if pid == 0:
                self._be_child(descriptor)
            os.close(descriptor)
            self._children.add(pid)
            self._tell(f"born {pid}")
        return True

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._children.discard(pid)
                self._tell(f"ended {pid} {os.waitstatus_to_exitcode(status)}")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the worker is gone, which the next look shows
            self._sock.sendall(line.encode() + b"\n")

    def _be_child(self, descriptor: int) -> None:
        """Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            if parent.bound_to(self._pid, signal.SIGKILL):
                for end in (self._waking, self._wake, self._sock.fileno()):
                    os.close(end)
                with socket.socket(fileno=descriptor) as sock:
                    self._serve(sock)
                code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def kill(pid: int) -> None:
    """End a child and what it has started, if it is still there."""
    for send in (os.killpg, os.kill):  # it may not have got so far as to have a group of its own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(pid, signal.SIGKILL)


def arguments(settings: dict[str, Any]) -> Sequence[str]:
    """The command that starts a server."""
    return (sys.executable, "-c", _PROGRAM, json.dumps(settings))
