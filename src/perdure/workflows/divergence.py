"""Whether what the code asks for is what its run has recorded, and what is said where it isn't."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..core.run_errors import Diverged
from .commands import Command
from .model import Step


def mismatch(commands: Sequence[Command], steps: Mapping[str, Step], left: Iterable[Step]) -> Diverged | None:
    """What is wrong between the commands and the records: another kind under a name, or records ``left`` over while
    something new is asked for."""
    new = False
    for command in commands:
        step = steps.get(command.name)
        if step is not None and step.kind != command.kind:
            return diverged(command.name, command.kind, [step])
        new = new or step is None or not step.ended
    if new:
        mine = {command.name for command in commands}
        if over := [step for step in left if step.name not in mine]:
            first = next((each for each in commands if each.name not in steps), commands[0])
            return diverged(first.name, first.kind, over)
    return None


def diverged(asked: str, kind: str, steps: Iterable[Step], raised: BaseException | None = None) -> Diverged:
    """That the code asks for something else than what is recorded next, with what both do. ``raised``: it asks for
    nothing any more, because it has raised that."""
    left = sorted(steps, key=lambda each: each.seq)
    expected = f"{left[0].kind} {left[0].name!r}" if left else "the end"
    found = f"{kind} {asked!r}" if kind else "the end"
    if raised is not None:
        found = f"{type(raised).__name__}: {raised}".partition("\n")[0]
        if frames := traceback.extract_tb(raised.__traceback__):
            found += f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
    lines = [f"- {each.seq:>4} {each.kind} {each.name!r} ({each.state})" for each in left[:10]]
    if len(left) > 10:
        lines.append(f"  … and {len(left) - 10} more")
    diff = "\n".join(["--- recorded", "+++ code", *lines, f"+      {found}"])
    told = f"the run has recorded {expected} next, and the code"
    if raised is None:
        return Diverged(f"{told} comes to {found}", expected=expected, found=found, diff=diff)
    fix = "mend what the code raises, or let it come as far as before"
    return Diverged(f"{told} raises {found}", expected=expected, found=found, diff=diff, fix=fix)
