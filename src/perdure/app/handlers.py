"""Tasks as the claim loop knows them."""

from __future__ import annotations

from typing import Any

from ..core.codec import encode_result
from ..jobs.handler import Handler
from ..jobs.loops.cleaner import Cleaner
from ..jobs.loops.minder import encoded
from .registry import Task


def handler(task: Task[..., Any], cleaner: Cleaner | None = None) -> Handler:
    """The task as the claim loop knows it. ``cleaner``: of the worker, for what is called in its own process."""
    return Handler(
        name=task.name,
        function=task.function if cleaner is None or task.run_in == "process" else cleaner.around(task.function),
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
