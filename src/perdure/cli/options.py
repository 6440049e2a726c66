"""The options that many commands have, said once."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import typer
from typer.core import TyperGroup

LOOP_SECONDS = "PERDURE_LOOP_SECONDS"
"""The environment variable that says for how long a worker's event loop may be kept before that is reported."""

AppPath: TypeAlias = Annotated[
    str, typer.Argument(metavar="APP", help="The app, as module:app; the module is looked for in this directory first.")
]
Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="Of the database. Otherwise $DATABASE_URL, otherwise the embedded Postgres."
    ),
]
Schema: TypeAlias = Annotated[
    str, typer.Option("--schema", metavar="NAME", envvar="PERDURE_SCHEMA", help="Where Perdure's tables are.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, and nothing else there.")]


class Noun(TyperGroup):
    """A group of verbs about one noun; without a verb it is ``list``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in ``list`` where no verb is named."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def noun(help_text: str) -> typer.Typer:
    """A Typer for a noun's verbs."""
    return typer.Typer(cls=Noun, help=help_text, rich_markup_mode="rich", add_completion=False)
