"""The stages of the demonstrations: drawn on a terminal, plain lines when piped, silence for ``--json``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from ..demo.stage import Stage

WIDTH_MAX = 100


class Theatre(Stage, Protocol):
    """A stage with a beginning and an end."""

    def __enter__(self) -> Theatre: ...

    def __exit__(self, *failure: object) -> None: ...

    def title(self, text: str, version: str) -> None:
        """What is shown, and on which server."""

    def ledger(self, lines: Sequence[tuple[str, object]], problems: Sequence[str], seconds: float) -> None:
        """The books, everything that doesn't add up in them, and how long it all took."""


def theatre(silent: bool) -> Theatre:
    """The stage for where stdout goes."""
    if silent:
        return Silence()
    return Terminal() if sys.stdout.isatty() else Page()


class Silence:
    """Nothing is shown: the report says it all."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *failure: object) -> None: ...

    def title(self, text: str, version: str) -> None:
        """Not shown, like everything else."""

    def scene(self, title: str) -> None:
        """Not shown."""

    def tell(self, text: str, *, seconds: float | None = None) -> None:
        """Not shown."""

    def bar(self, what: str, done: int, total: int) -> None:
        """Not shown."""

    def busy(self, what: str) -> None:
        """Not shown."""

    def ledger(self, lines: Sequence[tuple[str, object]], problems: Sequence[str], seconds: float) -> None:
        """Not shown."""


class Page(Silence):
    """Plain lines on stdout; what only passes isn't written down."""

    def __init__(self) -> None:
        self._scenes = 0

    def title(self, text: str, version: str) -> None:
        """The first line."""
        self._write(f"{text} (PostgreSQL {version})")

    def scene(self, title: str) -> None:
        """A numbered line."""
        self._scenes += 1
        self._write(f"\n{self._scenes}. {title}")

    def tell(self, text: str, *, seconds: float | None = None) -> None:
        """A line under the scene's."""
        self._write(f"   {text}{'' if seconds is None else f' ({seconds:.2f} s)'}")

    def ledger(self, lines: Sequence[tuple[str, object]], problems: Sequence[str], seconds: float) -> None:
        """Name and figure, a pair a line; then the verdict."""
        self._write("\nThe ledger")
        for name, value in lines:
            self._write(f"   {name}: {_figure(value)}")
        for problem in problems:
            self._write(f"   WRONG: {problem}")
        self._write(f"\n{_verdict(problems)} ({seconds:.1f} s)")

    def _write(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class _Words(RegexHighlighter):
    base_style = "demo."
    highlights = (
        r"(?P<order>order:\d+)",
        r"(?P<kill>kill -\w+ ?\d*)",
        r"(?P<worker>\bworkers? [A-Z]\b)",
        r"(?P<number>(?<![\w:.-])\d[\d,.]*(?![\w:]))",
    )


_STYLES = Theme(
    {"demo.order": "bold cyan", "demo.kill": "bold red", "demo.worker": "bold magenta", "demo.number": "bold"}
)


class _Count(MofNCompleteColumn):
    """So many of so many, where it is known of how many."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total is not None else Text()


class Terminal(Silence):
    """Drawn with rich: a scene has a number and a colour, what is measured stands at the right, waits have a bar."""

    def __init__(self) -> None:
        self._console = Console(theme=_STYLES, highlighter=_Words())
        self._width = min(self._console.width, WIDTH_MAX)
        self._scenes = 0
        self._progress = Progress(
            TextColumn("  "),
            SpinnerColumn("line"),
            BarColumn(30),
            _Count(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._live = Live(self._progress, console=self._console, transient=True, refresh_per_second=20)
        self._task = self._progress.add_task("", total=None, visible=False)
        self._what = ""

    def __enter__(self) -> Terminal:
        self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._live.stop()

    def title(self, text: str, version: str) -> None:
        """A rule with the title in it."""
        self._console.print()
        self._console.print(Rule(f"[bold]{text}[/]  [dim]PostgreSQL {version}[/]", style="cyan"), width=self._width)

    def scene(self, title: str) -> None:
        """A numbered heading."""
        self._rest()
        self._scenes += 1
        self._console.print(f"\n [bold cyan]{self._scenes}[/]  [bold]{title}[/]")

    def tell(self, text: str, *, seconds: float | None = None) -> None:
        """What happened, at the right how long it took."""
        self._rest()
        row = Table.grid(expand=True, padding=(0, 1))
        row.add_column(ratio=1)
        row.add_column(justify="right", style="green", no_wrap=True)
        said = self._console.highlighter(Text(text))
        row.add_row(said, "" if seconds is None else f"{seconds:.2f} s")
        self._console.print(Padding(row, (0, 0, 0, 4)), width=self._width)

    def bar(self, what: str, done: int, total: int) -> None:
        """A bar that goes when the next thing is told."""
        self._show(what)
        self._progress.update(self._task, completed=done, total=total)

    def busy(self, what: str) -> None:
        """A bar that has no end yet."""
        self._show(what)
        self._progress.tasks[0].total = None  # update() takes None for no change

    def ledger(self, lines: Sequence[tuple[str, object]], problems: Sequence[str], seconds: float) -> None:
        """The books between two rules, and the verdict."""
        books = Table.grid(padding=(0, 2))
        books.add_column()
        books.add_column(justify="right", style="bold")
        for name, value in lines:
            books.add_row(name, _figure(value))
        self._console.print()
        self._console.print(Rule("[bold]The ledger[/]", style="cyan"), width=self._width)
        self._console.print(Padding(books, (1, 0, 1, 4)))
        for problem in problems:
            self._console.print(f"    [bold red]wrong[/] {problem}")
        style = "red" if problems else "green"
        self._console.print(f"    [bold {style}]{_verdict(problems)}[/]  [dim]{seconds:.1f} s[/]\n")

    def _show(self, what: str) -> None:
        if what != self._what:
            self._what = what
            self._progress.reset(self._task, description=what, visible=True)

    def _rest(self) -> None:
        self._what = ""
        self._progress.update(self._task, visible=False)


def _verdict(problems: Sequence[str]) -> str:
    return "The ledger doesn't add up." if problems else "The ledger adds up: nothing lost, nothing done twice."


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f} s"
    return f"{value:,}" if isinstance(value, int) else str(value)
