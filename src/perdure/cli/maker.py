"""Jobs of arguments that come as JSON text, from a command line or a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..app.registry import Task
from ..core import codec
from ..core.errors import InvalidArgument
from ..jobs.model import JobSpec


class Maker:
    """Makes jobs of JSON texts. With a ``task`` they are held to its signature; without one, any object will do."""

    def __init__(self, name: str, task: Task[..., Any] | None, options: Mapping[str, Any]) -> None:
        self.name, self._task, self._options = name, task, dict(options)
        self.job("{}", checked=True)  # refuses a bad option before anything is read

    def job(self, text: str | bytes, *, checked: bool = False) -> JobSpec:
        """The job with these arguments. ``checked``: they come from a job that was made here before.

        Raises what ``Signature.accept`` raises, and InvalidArgument for JSON that isn't an object.
        """
        payload = text if checked and isinstance(text, str) else self._accept(text)
        if self._task is None:
            return JobSpec(task=self.name, payload=payload, **self._options)
        spec = self._task.spec(payload)
        return spec.options(**self._options) if self._options else spec

    def _accept(self, text: str | bytes) -> str:
        accepted = codec.accept(text) if self._task is None else self._task.signature.accept(text)
        if not accepted.startswith("{"):
            raise InvalidArgument("isn't a JSON object", fix='give the arguments by name, as {"order_id": 9182}')
        return accepted
