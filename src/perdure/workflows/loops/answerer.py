"""The answerer: lets a workflow's validators judge the updates that were sent to a run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any

import msgspec

from ...core.codec import encode
from ...core.endings import storable
from ...jobs.work import Claimed
from ..machine import Machine
from ..model import Message
from ..ops.inbox import answer
from .provider import Flow, Means


class Answerer:
    """Answers the updates of one run. One that is accepted is a signal from then on."""

    def __init__(self, provider: Means, flow: Flow, job: Claimed, machine: Machine) -> None:
        self._provider, self._flow, self._job, self._machine = provider, flow, job, machine

    async def answer(self, messages: Sequence[Message]) -> list[Message]:
        """The inbox, once every update in it has its answer."""
        left = []
        for message in messages:
            if not message.answered:
                refusal, value = await self._judge(message)
                await self._provider.write(answer, self._job.id, self._job.generation, message.id, refusal, value)
                if refusal is not None:
                    continue
                message.answered = True
            left.append(message)
        return left

    async def _judge(self, message: Message) -> tuple[str | None, str | None]:
        """Why it is refused, None when it is accepted; and what its sender is told then."""
        validator = self._flow.updates.get(message.name)
        if validator is None:
            known = ", ".join(sorted(self._flow.updates)) or "none"
            return f"{self._flow.name} has no update {message.name!r}; there is {known}", None
        try:
            value = validator(msgspec.json.decode(message.payload), self._said())
            if inspect.isawaitable(value):
                value = await value
            return None, encode(value, field=message.name)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # a SystemExit, too: what a validator raises refuses the update
            return storable(str(error) or type(error).__name__), None

    def _said(self) -> dict[str, Any]:
        """What the run says of itself, also where it hasn't been replayed yet."""
        machine = self._machine
        replayed = machine.attributes != machine.history.attributes
        return dict(machine.attributes if replayed else machine.history.said)
