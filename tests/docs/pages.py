"""The fenced blocks of the pages that users read.

The word after the language says what is done with a block: ``python file=NAME`` is written to that file, ``python run``
is run, ``text output`` is what the page's program prints, ``sql setup`` is run by the owner; any other ``sql`` is
run by whoever the page says, any other ``python`` is only compiled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.tidy.source import ROOT

FOLDERS = ("guides", "operate")
PAGES = (ROOT / "README.md", *sorted(page for folder in FOLDERS for page in (ROOT / "docs" / folder).glob("*.md")))
_FENCE = re.compile(r"^```(\w+)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: the page and line it stands on, its language, its mark, its text."""

    page: Path
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The blocks of a page in order, of one language if it is given."""
    text = page.read_text()
    found = [
        Block(page, text.count("\n", 0, match.start(3)) + 1, match[1], match[2] or "", match[3])
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]
