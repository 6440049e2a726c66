"""Stored histories, run over the code again."""

from __future__ import annotations

from ..app.client import Client
from ..app.registry import App
from ..core.errors import InvalidOption
from ..core.run_errors import Diverged, WorkflowFinished
from ..workflows.check import Checked


def replay(client: Client, app: App, id: str | None = None) -> list[Checked]:
    """Replay the run of this id, or every run that lives, over the app's code, and do nothing.

    Raises Diverged for the first that the code doesn't fit, InvalidOption for one of a workflow that the app doesn't
    declare; returns what was replayed. Of a run that has ended nothing is replayed: WorkflowFinished.
    """
    if id is not None:
        client.workflows.get(id)  # raises for a run that there isn't
    found = [each for each in client.workflows.check(app) if id in (None, each.id)]
    if id is not None and not found:
        raise WorkflowFinished(
            "has ended, and only runs that live are replayed", id=id, field=id, fix="replay it before"
        )
    for each in found:
        if each.foreign:
            raise InvalidOption(
                f"declares no workflow {each.name!r}, which the run {each.id!r} is of",
                field="app", fix="give the app that declares it",
            )  # fmt: skip
        if each.problem is not None:
            raise Diverged(each.problem, field=each.id, fix=None)  # the problem says it
    return found
