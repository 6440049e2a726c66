"""A few worker processes, kept running: signals are passed on, a crashed one is replaced, none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from logging import getLogger

from ..runtime.clock import monotonic
from ..runtime.dice import jittered
from ..runtime.parent import Tether

log = getLogger("perdure.supervisor")

PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0
"""Between a crash and the next start: doubled with each crash in a row, up to this."""

STEADY_SECONDS = 60.0
"""A process that has lived this long has not crashed in a row."""

_SETTINGS_WRONG = 2


class Supervisor:
    """Runs ``perdure ARGUMENTS`` in ``processes`` child processes, with ``environment`` added to ours.

    ``metrics_port``: of the first one; the others take those after it.

    The children are in sessions of their own, so that Ctrl-C reaches them through us alone, once.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        processes: int,
        name: str | None = None,
        metrics_port: int | None = None,
    ) -> None:
        self._command = [sys.executable, "-m", "perdure", *arguments]
        self._environment = {**os.environ, **environment}
        self._names = [f"{name or socket.gethostname()}:{number}" for number in range(1, processes + 1)]
        ports = range(metrics_port or 0, (metrics_port or 0) + processes)
        self._ports = {} if metrics_port is None else dict(zip(self._names, ports, strict=True))
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """Keep them running until told to stop: 0 when all ended by themselves, 1 when one had to be stopped.

        2, and all are stopped, when one ends with 2: its settings are wrong, and so are those of the others.
        """
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._stop)
        self._tether = Tether()
        try:
            await asyncio.gather(*(self._keep(name) for name in self._names))
        finally:
            self._tether.close()
        return self._code

    def _stop(self) -> None:
        self._stopping.set()
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)

    async def _keep(self, name: str) -> None:
        pause = PAUSE_SECONDS
        while not self._stopping.is_set():
            began = monotonic()
            code = await self._run_one(name)
            if self._stopping.is_set():
                self._code = max(self._code, 0 if code == 0 else 1)
            elif code == _SETTINGS_WRONG:
                self._code = _SETTINGS_WRONG
                self._stop()
            else:
                pause = PAUSE_SECONDS if monotonic() - began > STEADY_SECONDS else pause
                rest = jittered(pause)
                log.error("worker process %s %s; another one starts in %.1f s", name, _ended(code), rest)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), rest)
                pause = min(pause * 2, PAUSE_SECONDS_MAX)

    async def _run_one(self, name: str) -> int:
        child = await asyncio.create_subprocess_exec(
            *self._command,
            "--name",
            name,
            *(["--metrics-port", str(self._ports[name])] if name in self._ports else []),
            env={**self._environment, **self._tether.environment},
            pass_fds=[self._tether.reading],
            start_new_session=True,
        )
        self._children[name] = child
        if self._stopping.is_set():  # told while it was being started
            child.send_signal(signal.SIGTERM)
        log.info("worker process %s is %d", name, child.pid)
        code = await child.wait()
        del self._children[name]
        return code


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
