"""A program that uses a client, forks, and uses it in its children and in itself. It prints what each was told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from perdure import AsyncClient, Client
from tests.rooms.client.shop import send_receipt

JOB = send_receipt.job(order_id=9182)
TIMES = 10
SECONDS_MAX = 60
"""After which who hangs is killed."""

Told = dict[str, list[int]]
"""The ids of the jobs that were written, and the server's processes that have answered."""


def use(client: Client) -> Told:
    """Enqueue, in transactions and alone."""
    ids, pids = list[int](), list[int]()
    for _ in range(TIMES):
        with client.transaction() as tx:
            ids.append(tx.jobs.enqueue(JOB).id)
            pids.append(tx.connection.info.backend_pid)
        ids.append(client.jobs.enqueue(JOB).id)
    return {"ids": ids, "pids": pids}


async def ause(client: AsyncClient) -> Told:
    """The same, awaited."""
    ids, pids = list[int](), list[int]()
    for _ in range(TIMES):
        async with client.transaction() as tx:
            ids.append((await tx.jobs.enqueue(JOB)).id)
            pids.append(tx.connection.info.backend_pid)
        ids.append((await client.jobs.enqueue(JOB)).id)
    return {"ids": ids, "pids": pids}


def forked(work: Callable[[], Told]) -> int:
    """A child that does the work, and ends as a program does; the end of the pipe at which it says what it was told."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        return reading
    signal.alarm(SECONDS_MAX)
    os.write(writing, json.dumps(work()).encode())
    sys.exit()


def heard(reading: int) -> Any:
    """What a child has said, once it has ended."""
    with open(reading, "rb") as said:
        text = said.read()
    _, status = os.wait()
    assert status == 0, f"a child has ended with {status}"
    return json.loads(text)


def threads(url: str) -> list[Told]:
    """Before the fork, in two children, and after it."""
    with Client(url) as client:
        before = use(client)
        children = [forked(lambda: use(client)) for _ in range(2)]
        return [before, *map(heard, children), use(client)]


def loop(url: str) -> list[Told]:
    """The same on event loops."""
    client = AsyncClient(url)

    async def alone() -> Told:
        async with client:
            return await ause(client)

    runner = asyncio.Runner()  # closed by the parent alone: its loop's selector is shared, too
    before = runner.run(ause(client))
    children = [forked(lambda: asyncio.run(alone())) for _ in range(2)]
    told = [before, *map(heard, children), runner.run(alone())]
    runner.close()
    return told


if __name__ == "__main__":
    signal.alarm(SECONDS_MAX)
    print(json.dumps(globals()[sys.argv[1]](sys.argv[2])))
