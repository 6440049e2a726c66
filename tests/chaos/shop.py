"""The app that the processes of these tests work for. Each run of a handler leaves a row in ``effect``."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time

import asyncpg

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry

app = App("shop")


class _Till:
    """One connection for all handlers of this process, made again when it breaks."""

    def __init__(self) -> None:
        self._conn: asyncpg.Connection[asyncpg.Record] | None = None
        self._turn = asyncio.Lock()
        self._told: asyncio.Task[None] | None = None

    async def ring(self, ctx: Context, what: str) -> None:
        """Keep that this job has begun or ended here."""
        async with self._turn:
            if self._conn is None or self._conn.is_closed():
                named = {"application_name": f"till {os.getpid()}"}
                self._conn = await asyncpg.connect(os.environ["EFFECTS_URL"], server_settings=named)
            await self._conn.execute(
                "insert into effect (job, generation, pid, what) values ($1, $2, $3, $4)",
                ctx.job.id, ctx.fence.generation, os.getpid(), what,
            )  # fmt: skip

    async def told(self) -> None:
        """Return once there is a row in ``told``. One look for all who wait."""
        if self._told is None:
            self._told = asyncio.get_running_loop().create_task(self._look())
        await asyncio.shield(self._told)

    async def _look(self) -> None:
        conn = await asyncpg.connect(os.environ["EFFECTS_URL"])
        try:
            while not await conn.fetchval("select exists (select from told)"):  # noqa: ASYNC110  # in another process
                await asyncio.sleep(0.02)
        finally:
            await conn.close()


_till = _Till()
QUICK = Retry(max_attempts=50, delays=(0.2,) * 49, jitter="none")


@app.task
async def nothing() -> None:
    """Nothing at all."""


@app.task(retry=QUICK)
async def sell(ctx: Context) -> None:
    """Leave one effect."""
    await _till.ring(ctx, "sold")


@app.task(retry=QUICK)
async def sell_together(ctx: Context) -> None:
    """Leave one effect, in the transaction that ends the job."""
    async with ctx.transaction() as tx:
        await tx.connection.execute(
            "insert into effect (job, generation, pid, what) values (%s, %s, %s, 'sold')",
            [ctx.job.id, ctx.fence.generation, os.getpid()],
        )


@app.task(retry=QUICK)
async def sell_at_second_try(ctx: Context) -> None:
    """Fail, then leave one effect."""
    if ctx.attempt == 1:
        raise ConnectionError("sold out")
    await _till.ring(ctx, "sold")


@app.task(retry=QUICK)
async def serve(ctx: Context, seconds: float) -> None:
    """Begin, take some time, end."""
    await _till.ring(ctx, "begun")
    await asyncio.sleep(seconds)
    await _till.ring(ctx, "ended")


@app.task(retry=QUICK)
async def serve_until_told(ctx: Context) -> None:
    """Begin, and end once there is a row in ``told``."""
    await _till.ring(ctx, "begun")
    await _till.told()
    await _till.ring(ctx, "ended")


@app.task(retry=QUICK)
async def pass_gate(ctx: Context, file: str) -> None:
    """Begin, and end once the file is there."""
    await _till.ring(ctx, "begun")
    await _opened(file)
    await _till.ring(ctx, "ended")


@app.task(retry=QUICK)
async def stand_at(ctx: Context, file: str) -> None:
    """Begin, and be over at the first look that finds the file."""
    await _till.ring(ctx, "begun")
    await _opened(file)


@app.task(retry=QUICK)
async def wait_at(file: str) -> None:
    """End once the file is there, and leave nothing."""
    await _opened(file)


async def _opened(file: str) -> None:
    while not os.path.exists(file):  # noqa: ASYNC110, ASYNC240  # another process makes it
        await asyncio.sleep(0.02)


@app.task(retry=QUICK)
async def walk(ctx: Context, items: int, every: int, stop: int | None = None) -> int:
    """Leave an effect for each item, and save how many are done after so many. ``stop``: the item at which whoever
    begins the walk comes to a stand."""
    async for item in ctx.resumable(range(items), every=every, seconds=None):
        if item == stop and ctx.fence.generation == 0:
            await asyncio.Event().wait()
        await _till.ring(ctx, f"item {item}")
    return items


@app.task(retry=QUICK)
async def hog(ctx: Context, file: str) -> None:
    """Keep the loop, and the interpreter, without a pause, until the file is there."""
    await _till.ring(ctx, "begun")
    while not os.path.exists(file):  # noqa: ASYNC240  # that it blocks is what it is for
        sum(range(1_000))
    await _till.ring(ctx, "ended")


@app.task(retry=Retry(max_attempts=1), run_in="process")
def count_for_ever(file: str) -> None:
    """Write the child's pid to the file, then go on for ever."""
    with open(file, "w") as out:
        out.write(str(os.getpid()))
    while True:
        time.sleep(60)


@app.task(retry=QUICK)
async def murder(ctx: Context) -> None:
    """Kill the process it runs in."""
    await _till.ring(ctx, "begun")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(retry=QUICK)
def stay(file: str) -> None:
    """Write the pid to the file, then go on for ever."""
    with open(file, "w") as out:
        out.write(str(os.getpid()))
    while True:
        time.sleep(60)


@app.task(retry=QUICK, run_in="process")
def count_to(number: int) -> int:
    """Count, in a child."""
    return sum(1 for _ in range(number))


@app.task(retry=QUICK)
async def wait(seconds: float) -> None:
    """Take some time, and leave nothing."""
    await asyncio.sleep(seconds)


@app.task(retry=QUICK)
async def hold_the_interpreter(ctx: Context, first: str, again: str) -> None:
    """Let no other thread of this process run, as an extension in C does that keeps the lock of the interpreter, until
    somebody writes a byte into the pipe: the first one, and another one when it is run again."""
    await _till.ring(ctx, "begun")
    pipe = os.open(
        again if ctx.fence.generation else first, os.O_RDWR
    )  # open for writing, too, so that it needn't wait for a writer
    byte = ctypes.create_string_buffer(1)
    while ctypes.PyDLL(None).read(pipe, byte, 1) < 1:
        pass  # a signal has interrupted it
    os.close(pipe)
