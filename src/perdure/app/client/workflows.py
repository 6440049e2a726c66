"""The noun ``workflows``: start, look, signal, update, cancel, mend, wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from ...runtime.clock import monotonic
from ...runtime.dice import roll
from ...workflows.check import Checked
from ...workflows.model import Conflict, Moment, Run, RunSpec, Started
from ...workflows.ops import inbox
from . import flow_verbs as verbs
from .runs import AsyncRuns, Runs
from .verbs import PAGE_ROWS_DEFAULT, Page


class Workflowed(Protocol):
    """An app, as far as its workflows go."""

    @property
    def workflows(self) -> Mapping[str, Any]: ...  # noqa: D102


class Workflows:
    """Runs of workflows, in the transaction of whoever gave this noun."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def start(
        self,
        run: RunSpec,
        *,
        id: str,
        on_conflict: Conflict = "join",
        deadline: datetime | timedelta | float | None = None,
        **options: Any,
    ) -> Started:
        """Start a run under an id of your own: ``start(checkout.run(order_id=9182), id="checkout:9182")``.

        ``on_conflict``: what to do when there is a run of that id, ended or not: "join" it (``differs`` of the answer
        says whether it has other arguments), "reject" with WorkflowExists, or "replace" it (it is cancelled, and loses
        the id). ``deadline``: when the run is to have
        ended; then it is told to stop, and compensates. Further options: queue, key, priority, tags, attributes.
        """
        return self._runs.change(verbs.start(run, id, on_conflict, deadline, options))

    def start_many(self, runs: Iterable[tuple[RunSpec, str]]) -> Sequence[Started]:
        """Start many at once, each with its id; those that there are already are joined."""
        return self._runs.change(verbs.start_many(runs))

    def get(self, id: str) -> Run:
        """One run. Raises WorkflowNotFound."""
        return self._runs.look(verbs.get, id)

    def list(
        self,
        *,
        name: str | None = None,
        state: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        cursor: int | None = None,
        limit: int = PAGE_ROWS_DEFAULT,
    ) -> Page[Run]:
        """A page of runs, newest first. ``attributes``: those that say all of this. Raises InvalidOption."""
        return self._runs.look(verbs.list_runs, name, state, attributes, cursor, limit)

    def signal(self, id: str, name: str, payload: Any = None, *, key: str | None = None) -> bool:
        """Send a run a signal. It is kept until the run asks for one of this name, each for one time of asking.
        ``key``: a second signal with it is dropped, and False returned.

        Raises WorkflowNotFound, and WorkflowFinished when the run has ended: then nothing is kept.
        """
        return self._runs.change(verbs.signal(id, name, payload, key))

    def callback(self, token: str, payload: Any = None) -> bool:
        """Answer with a token that ``wf.token`` has made; False the second time. Raises WorkflowNotFound."""
        return self._runs.change(verbs.callback(token, payload))

    def query(self, id: str, name: str | None = None) -> Any:
        """What the run has said of itself with ``wf.set``: one attribute, or all. Nothing is run for it."""
        return self._runs.look(verbs.query, id, name)

    def update(self, id: str, name: str, payload: Any = None, *, timeout: float | None = 30.0) -> Any:
        """Send a run an update and wait for its validator's answer. An accepted one reaches the run as a signal.

        Raises UpdateRefused with the validator's message, WorkflowNotFound, WorkflowFinished, WaitTimeout.
        """
        self._runs.refuse_wait()
        number = self._runs.change(verbs.send_update(id, name, payload))
        waiting = verbs.Waiting(id, timeout, monotonic())
        while True:
            answered, value = verbs.judged(self._runs.look(inbox.answered, number), id, name)
            if answered:
                return value
            time.sleep(waiting.again(monotonic(), roll(), value))

    def cancel(self, id: str, *, reason: str | None = None, force: bool = False) -> str:
        """Ask a run to end ("requested"): its code hears of it, its steps are compensated, its children end with it.
        One that is parked hears of it when workers have code that comes as far as what is recorded. A run that has
        failed is filed ("discarded"). ``force``: end one that isn't running now, at once; its code doesn't hear of it,
        and nothing is compensated, then or later ("cancelled"). Raises WorkflowNotFound.
        """
        return self._runs.change(verbs.cancel(id, reason, force))

    def pause(self, id: str) -> None:
        """Let a run go no further than its next step."""
        self._runs.change(verbs.pause(id))

    def resume(self, id: str) -> None:
        """Let a run go on that was paused, or that was parked because its code didn't fit."""
        self._runs.change(verbs.resume(id))

    def retry(self, id: str) -> None:
        """Let a run that has failed do again what failed, and go on; one that waits for a step's next attempt makes it
        now. Raises WorkflowNotFound or WorkflowState."""
        self._runs.change(verbs.retry(id))

    def skip(self, id: str, step: str, *, result: Any = None, note: str | None = None) -> None:
        """Take a step that failed for done, with this result, and let the run go on."""
        self._runs.change(verbs.skip(id, step, result, note))

    def rewind(self, id: str, step: str) -> Sequence[str]:
        """Forget what the run has recorded from a step on, and let it do that again; what was forgotten. What those
        steps have done outside isn't undone."""
        return self._runs.change(verbs.rewind(id, step))

    def fork(self, id: str, *, new_id: str, step: str | None = None) -> Started:
        """Start a run that has done what this one had done before ``step`` (all that it has done, without one)."""
        return self._runs.change(verbs.fork(id, step, new_id))

    def timeline(self, id: str) -> Sequence[Moment]:
        """What the run has recorded, in order."""
        return self._runs.look(verbs.timeline, id)

    def check(self, app: Workflowed, *, name: str | None = None) -> Sequence[Checked]:
        """Whether the runs that live (of one workflow, or all) would go on with the code of this app: each is replayed
        over what it has recorded, and nothing is done. Ask it before a deploy. Those that are ``foreign`` may be
        another app's."""
        return self._runs.look(verbs.check_runs, app.workflows, name)

    def wait(self, id: str, *, timeout: float | None = None) -> Any:
        """The run's result, once it has completed. ``timeout`` in seconds, None for ever.

        Raises WorkflowFailed, WorkflowCancelled, WaitTimeout, WorkflowNotFound.
        """
        self._runs.refuse_wait()
        waiting = verbs.Waiting(id, timeout, monotonic())
        while (pause := waiting.pause(run := self.get(id), monotonic(), roll())) is not None:
            time.sleep(pause)
        return run.result


class AsyncWorkflows:
    """Runs of workflows, awaited."""

    def __init__(self, runs: AsyncRuns) -> None:
        self._runs = runs

    async def start(
        self,
        run: RunSpec,
        *,
        id: str,
        on_conflict: Conflict = "join",
        deadline: datetime | timedelta | float | None = None,
        **options: Any,
    ) -> Started:
        """As ``Workflows.start``."""
        return await self._runs.change(verbs.start(run, id, on_conflict, deadline, options))

    async def start_many(self, runs: Iterable[tuple[RunSpec, str]]) -> Sequence[Started]:
        """As ``Workflows.start_many``."""
        return await self._runs.change(verbs.start_many(runs))

    async def get(self, id: str) -> Run:
        """As ``Workflows.get``."""
        return await self._runs.look(verbs.get, id)

    async def list(
        self,
        *,
        name: str | None = None,
        state: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        cursor: int | None = None,
        limit: int = PAGE_ROWS_DEFAULT,
    ) -> Page[Run]:
        """As ``Workflows.list``."""
        return await self._runs.look(verbs.list_runs, name, state, attributes, cursor, limit)

    async def signal(self, id: str, name: str, payload: Any = None, *, key: str | None = None) -> bool:
        """As ``Workflows.signal``."""
        return await self._runs.change(verbs.signal(id, name, payload, key))

    async def callback(self, token: str, payload: Any = None) -> bool:
        """As ``Workflows.callback``."""
        return await self._runs.change(verbs.callback(token, payload))

    async def query(self, id: str, name: str | None = None) -> Any:
        """As ``Workflows.query``."""
        return await self._runs.look(verbs.query, id, name)

    async def update(self, id: str, name: str, payload: Any = None, *, timeout: float | None = 30.0) -> Any:
        """As ``Workflows.update``."""
        self._runs.refuse_wait()
        number = await self._runs.change(verbs.send_update(id, name, payload))
        waiting = verbs.Waiting(id, timeout, monotonic())
        while True:
            answered, value = verbs.judged(await self._runs.look(inbox.answered, number), id, name)
            if answered:
                return value
            await asyncio.sleep(waiting.again(monotonic(), roll(), value))

    async def cancel(self, id: str, *, reason: str | None = None, force: bool = False) -> str:
        """As ``Workflows.cancel``."""
        return await self._runs.change(verbs.cancel(id, reason, force))

    async def pause(self, id: str) -> None:
        """As ``Workflows.pause``."""
        await self._runs.change(verbs.pause(id))

    async def resume(self, id: str) -> None:
        """As ``Workflows.resume``."""
        await self._runs.change(verbs.resume(id))

    async def retry(self, id: str) -> None:
        """As ``Workflows.retry``."""
        await self._runs.change(verbs.retry(id))

    async def skip(self, id: str, step: str, *, result: Any = None, note: str | None = None) -> None:
        """As ``Workflows.skip``."""
        await self._runs.change(verbs.skip(id, step, result, note))

    async def rewind(self, id: str, step: str) -> Sequence[str]:
        """As ``Workflows.rewind``."""
        return await self._runs.change(verbs.rewind(id, step))

    async def fork(self, id: str, *, new_id: str, step: str | None = None) -> Started:
        """As ``Workflows.fork``."""
        return await self._runs.change(verbs.fork(id, step, new_id))

    async def timeline(self, id: str) -> Sequence[Moment]:
        """As ``Workflows.timeline``."""
        return await self._runs.look(verbs.timeline, id)

    async def check(self, app: Workflowed, *, name: str | None = None) -> Sequence[Checked]:
        """As ``Workflows.check``."""
        return await self._runs.look(verbs.check_runs, app.workflows, name)

    async def wait(self, id: str, *, timeout: float | None = None) -> Any:
        """As ``Workflows.wait``."""
        self._runs.refuse_wait()
        waiting = verbs.Waiting(id, timeout, monotonic())
        while (pause := waiting.pause(run := await self.get(id), monotonic(), roll())) is not None:  # noqa: ASYNC110
            await asyncio.sleep(pause)
        return run.result
