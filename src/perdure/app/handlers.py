"""Tasks as the claim loop knows them."""

from __future__ import annotations

from typing import Any

from ..core.codec import encode_result
from ..jobs.handler import Handler
from ..jobs.loops.minder import encoded
from .registry import Task


def handler(task: Task[..., Any]) -> Handler:
    """The task as the claim loop knows it."""
    return Handler(
        name=task.name,
        function=task.function,
        run_in=task.run_in,
        retry=task.retry,
        timeout=task.timeout,
        at_most_once=task.at_most_once,
        decode=task.signature.decode,
        encode=encoded if task.run_in == "process" else encode_result,
        context=task.signature.context,
        address=f"{task.function.__module__}:{task.function.__qualname__}",
        version=task.version,
        upgrades=task.upgrades,
        checkpoint_version=task.checkpoint_version,
        checkpoint_upgrades=task.checkpoint_upgrades,
    )
