"""Acting on several jobs: each in a transaction of its own, each answered for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from ..core.errors import PerdureError
from ..core.op import Op
from . import show
from .database import opened

Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it is kept with the job.")]


def each_job(
    ids: list[int], act: Callable[[int], Op[str | None]] | Callable[[int], Op[None]], done: str | None,
    url: str | None, schema: str, as_json: bool,
) -> None:  # fmt: skip
    """Act on each job in a transaction of its own, and say what became of it; one that refuses doesn't stop the rest.

    ``done`` is the answer of an act that has none.
    """
    answers: list[dict[str, object]] = []
    code = 0
    with opened(url, schema) as database:
        for id in ids:
            try:
                answers.append({"id": id, "answer": database.change(act(id)) or done})
            except PerdureError as error:
                code = max(code, show.complain(str(error), error.exit_code))
                answers.append({"id": id, "error": error.problem})
    if as_json:
        show.document(answers)
    else:
        for each in answers:
            if "answer" in each:
                show.line(f"job {each['id']}: {each['answer']}")
    raise typer.Exit(code)
