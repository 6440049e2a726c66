"""Worker processes, as the benchmark that started them sees them: what they told, and how they are ended."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from ..core.errors import PerdureError
from .stage import Stage

UNTIL_SECONDS = 300.0
STAMP_SECONDS = 60.0
LEAVE_SECONDS = 60.0
STDERR_LINES = 20


class WorkerProcess:
    """One worker. ``stamps`` and ``freed``: when handlers began and ended, by their number (monotonic seconds)."""

    def __init__(self, process: asyncio.subprocess.Process, changed: asyncio.Condition) -> None:
        self.process, self._changed = process, changed
        self.ready = False
        self.started_at: float | None = None
        self.settled, self.settled_at = 0, 0.0
        self.stamps: dict[int, list[float]] = {}
        self.freed: dict[int, float] = {}
        self.clean: bool | None = None
        self.said: deque[str] = deque(maxlen=STDERR_LINES)
        self.ended = False
        self._readers = [asyncio.create_task(each) for each in (self._read(), self._read_errors())]

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def begin(self) -> None:
        """Let the worker connect and claim."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"begin\n")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def gone(self) -> int:
        """Wait until the process has ended; its exit code."""
        code = await asyncio.wait_for(self.process.wait(), LEAVE_SECONDS)
        await asyncio.gather(*self._readers)
        return code

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self._told(json.loads(line))
            async with self._changed:
                self._changed.notify_all()
        self.ended = True
        async with self._changed:
            self._changed.notify_all()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.said.append(line.decode(errors="replace").rstrip())

    def _told(self, facts: dict[str, Any]) -> None:
        match facts:
            case {"stamp": n, "at": at}:
                self.stamps.setdefault(n, []).append(at)
            case {"freed": n, "at": at}:
                self.freed[n] = at
            case {"settled": count, "at": at}:
                self.settled, self.settled_at = count, at
            case {"ready": _}:
                self.ready = True
            case {"started": _, "at": at}:
                self.started_at = at
            case {"left": _, "clean": clean}:
                self.clean = clean


class Crew:
    """The worker processes of one measurement. None of them outlives it. ``options``: what each worker is told."""

    def __init__(self, stage: Stage, options: Mapping[str, Any]) -> None:
        self._stage, self._options, self._changed = stage, options, asyncio.Condition()
        self.workers: list[WorkerProcess] = []

    async def hire(
        self, *, slots: int | None = None, watch: bool = False, begin: bool = True, blocked: bool = False
    ) -> WorkerProcess:
        """A worker, claiming when this returns; with ``begin`` false it is loaded, and waits to begin. ``blocked``: no
        slot is freed there, and no journey gets past its second leg, until it is sent SIGUSR1."""
        place = {"url": self._stage.url, "schema": self._stage.schema}
        settings = {**place, "slots": slots, "watch": watch, "options": dict(self._options), "blocked": blocked}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "perdure.bench.child",
            json.dumps(settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        worker = WorkerProcess(process, self._changed)
        self.workers.append(worker)
        await self.until(lambda: worker.ready, "a worker is loaded")
        if begin:
            worker.begin()
            await self.until(lambda: worker.started_at is not None, "a worker has begun")
        return worker

    async def until(self, true: Callable[[], bool], what: str, seconds: float = UNTIL_SECONDS) -> None:
        """Wait for what the workers tell. Raises PerdureError when one breaks, or the time has passed."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: true() or self._broken() is not None), seconds)
            except TimeoutError:
                raise PerdureError(
                    f"waited {seconds:g} s until {what}", field="bench", fix="see what else keeps the machine busy"
                ) from None
        broken = self._broken()
        if broken is not None and not true():
            raise PerdureError("\n".join(["a worker process broke:", *broken.said]), field="bench")

    @property
    def settled(self) -> int:
        """Jobs settled by all of them."""
        return sum(worker.settled for worker in self.workers)

    async def settle(self, jobs: int) -> float:
        """Wait until that many jobs are settled; when the last one was (monotonic seconds)."""
        await self.until(lambda: self.settled >= jobs, f"{jobs} jobs are settled")
        return max(worker.settled_at for worker in self.workers)

    async def stamped(self, numbers: Sequence[int]) -> dict[int, float]:
        """Wait until these have started somewhere; when each first did (monotonic seconds)."""
        await self.until(
            lambda: all(any(n in worker.stamps for worker in self.workers) for n in numbers),
            f"{len(numbers)} jobs have started",
            STAMP_SECONDS,
        )
        return {n: min(worker.stamps[n][0] for worker in self.workers if n in worker.stamps) for n in numbers}

    async def dismiss(self, worker: WorkerProcess, number: signal.Signals = signal.SIGTERM) -> int:
        """End one of them; its exit code."""
        self.workers.remove(worker)
        worker.send(number)
        return await worker.gone()

    def _broken(self) -> WorkerProcess | None:
        return next((worker for worker in self.workers if worker.ended), None)


@asynccontextmanager
async def crew(stage: Stage, **options: Any) -> AsyncIterator[Crew]:
    """A crew that is sent home at the end, killed if it doesn't go. ``options``: what its workers are told."""
    hired = Crew(stage, options)
    try:
        yield hired
        for worker in list(hired.workers):
            await hired.dismiss(worker)
    finally:
        for worker in hired.workers:
            worker.send(signal.SIGKILL)
            await worker.gone()
