"""A workflow that carries out random programs. A program is a list of lines, a line its kind and what that takes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from perdure import App, Retry, StepFailed, Workflow
from tests.chaos.traces import act, falter, hang, stumble, undo

app = App("programs")

Line = list[Any]
Program = list[Line]

NEW_CODE = bool(os.environ.get("PROGRAMS_NEW_CODE"))
"""Whether this process has the code after the change; before it nothing is patched."""

PATIENT = Retry(max_attempts=10_000, delays=(0.02,) * 10, cap=1.0)
BOOK = "insert into booked (run, step, refused) values (%s, %s, %s)"


def _few(attempts: int) -> Retry:
    return Retry(max_attempts=attempts, delays=(0.01,) * 5)


@app.workflow
async def play(wf: Workflow, program: Program, path: str = "") -> Any:
    """Carry out each line in turn; what each has brought. ``path``: what names begin with, other in each round."""
    found = []
    for number, line in enumerate(program):
        if line[0] == "again":
            return wf.continue_as_new(program=line[1], path=f"{path}{number}~")
        found.append(await _carry(wf, f"{path}{number}", line))
    return found


async def _carry(wf: Workflow, name: str, line: Line) -> Any:
    kind, *rest = line
    if kind in _BLOCKS:
        return await _BLOCKS[kind](wf, name, *rest)
    if kind == "raise":
        raise ValueError(name)
    if kind == "pivot":
        return wf.pivot()
    try:
        return _kept(kind, await asked(wf, wf.id, name, line))
    except StepFailed as error:
        if kind == "child" and not rest[1]:
            raise
        return error.kind


def asked(by: Any, run: str, name: str, line: Line) -> Any:
    """What a line asks of a run, or of a gathering: what is awaited, or read afterwards."""
    kind, *rest = line
    match kind:
        case "step":
            return by.step(name, act, run, name, rest[0])
        case "undoable":
            return by.step(name, act, run, name, rest[0], compensate=undo)
        case "falter":
            return by.step(name, falter, run, name, rest[0], retry=PATIENT, compensate=undo)
        case "stumble":
            return by.step(name, stumble, run, name, retry=_few(rest[0]))
        case "overdue":
            return by.step(name, hang, run, name, retry=_few(1), timeout=0.2, compensate=undo)
        case "sleep":
            return by.sleep(rest[0] / 1000)
        case "signal":
            return by.signal(f"s{rest[0]}")
        case "late":
            return by.signal("late", timeout=rest[0] / 1000)
        case "never":
            return by.signal("never")
        case "token":
            return by.token(f"t{rest[0]}")
        case "answer":
            return by.signal(f"t{rest[0]}")
        case "post":
            return by.transaction(name, _post, run, name, rest[0])
        case "refuse":
            return by.transaction(name, _refuse, run, name, retry=_few(rest[0]))
        case "bounce":
            return by.transaction(name, _bounce, run, name, retry=_few(rest[0]))
        case "child":
            return by.child(play, f"{run}/{name}", rest[0])
        case _:
            assert kind == "detach"
            return by.start(play, f"{run}/{name}", rest[0])


def _kept(kind: str, value: Any) -> Any:
    """What a program keeps of what a line has brought: of a token only whether it is one."""
    return value if kind != "token" else isinstance(value, str) and value.startswith("wf_")


async def _post(tx: Any, run: str, name: str, value: int) -> int:
    """A transaction's function that writes, and stays open for a moment, so that some are when others have failed."""
    await tx.connection.execute(BOOK, [run, name, False])
    await asyncio.sleep(value / 50)
    return value


async def _refuse(tx: Any, run: str, name: str) -> None:
    """One that writes, and fails after a while."""
    await tx.connection.execute(BOOK, [run, name, False])
    await asyncio.sleep(0.3)
    raise ValueError(name)


async def _bounce(tx: Any, run: str, name: str) -> None:
    """One that writes what Postgres refuses when it commits."""
    await tx.connection.execute(BOOK, [run, name, True])


async def _pay(wf: Workflow, name: str, value: int) -> Any:
    """A transaction as a block."""
    paying = wf.transaction(name)
    async with paying as tx:
        await tx.connection.execute(BOOK, [wf.id, name, False])
        tx.keep(value)
    return paying.kept


async def _decline(wf: Workflow, name: str, attempts: int) -> Any:
    """A block that writes, and fails for good."""
    try:
        async with wf.transaction(name, retry=_few(attempts)) as tx:
            await tx.connection.execute(BOOK, [wf.id, name, False])
            raise ValueError(name)
    except StepFailed as error:
        return error.kind


async def _patch(wf: Workflow, name: str) -> str:
    """A place where the code was changed."""
    way = "new" if NEW_CODE and wf.patched(name) else "old"
    await wf.step(f"{name}.{way}", act, wf.id, f"{name}.{way}")
    return way


async def _guard(wf: Workflow, name: str, lines: Program) -> Any:
    """Lines, after which it tidies up, however they end."""
    try:
        return [await _carry(wf, f"{name}.{number}", line) for number, line in enumerate(lines)]
    finally:
        await wf.step(f"{name}.tidy", act, wf.id, f"{name}.tidy")


async def _gather(wf: Workflow, name: str, mode: Any, needed: int, undone: bool, members: Program) -> Any:
    """Lines side by side: how the whole has ended, and what each has brought."""
    policy: Any = "compensate" if undone else "keep"
    verdict = "gathered"
    try:
        async with wf.gather(mode, quorum=needed or None, limit=2, on_failure=policy) as group:
            handles = [asked(group, wf.id, f"{name}.{number}", line) for number, line in enumerate(members)]
    except StepFailed:
        verdict = "failed"
    brought = [
        _kept(line[0], handle.result) if handle.error is None else handle.error.kind
        for line, handle in zip(members, handles, strict=True)
    ]
    return [verdict, *brought]


_BLOCKS: Mapping[str, Callable[..., Awaitable[Any]]] = {
    "pay": _pay,
    "decline": _decline,
    "patch": _patch,
    "guard": _guard,
    "gather": _gather,
}
