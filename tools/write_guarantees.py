"""Writes docs/guarantees.md: every requirement that a test proves, in the words of the test that would go red.

    python tools/write_guarantees.py            write the page, and print the ids nobody cites
    python tools/write_guarantees.py --check    write nothing; exit 1 when the page is out of date

A test cites the ids it proves in its docstring, three at most. The ids and their statements are tools/requirements.tsv.
"""

from __future__ import annotations

import ast
import csv
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
CITED = re.compile(r"\b(?:DW|OPS|ARC|PAT|KIT)-\d+\b")
BRACKETS = re.compile(r"\s*\[[^\]]*\b(?:DW|OPS|ARC|PAT|KIT)-\d+[^\]]*\]")
FAMILIES = {
    "DW": "Durable work",
    "OPS": "Operations",
    "ARC": "Architecture",
    "PAT": "Patterns",
    "KIT": "Toolkit",
}
OPENING = """\
# Guarantees

Every line names the test that fails when it is untrue. Written by `make guarantees` from the docstrings of the tests;
a requirement that no test cites isn't claimed, and stands by its number at the end.
"""
REST = "## Not proved\n\nRequirements of the catalogue that no test cites:\n"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of tools/requirements.tsv."""

    id: str
    mark: str
    statement: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A test, what it says is true, and the ids it cites."""

    path: str
    name: str
    sentence: str
    ids: tuple[str, ...]


def requirements() -> dict[str, Requirement]:
    """The catalogue by id, in its own order."""
    with (ROOT / "tools" / "requirements.tsv").open(newline="") as lines:
        found = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["id"]: Requirement(**row) for row in found}


def proofs(tests: Path = ROOT / "tests") -> Iterator[Proof]:
    """Every test function and test class whose docstring cites an id."""
    for path in sorted(tests.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            docstring = ast.get_docstring(node) or ""
            if ids := tuple(dict.fromkeys(CITED.findall(docstring))):
                sentence = " ".join(BRACKETS.sub("", docstring).split())
                yield Proof(path.relative_to(ROOT).as_posix(), node.name, sentence, ids)


def render(catalogue: dict[str, Requirement], found: list[Proof]) -> str:
    """The page: a section for each family, a paragraph for each proved requirement."""
    lines = [OPENING]
    for family, members in groupby(catalogue.values(), key=lambda requirement: requirement.id.split("-")[0]):
        proved = [(requirement, [proof for proof in found if requirement.id in proof.ids]) for requirement in members]
        if not any(tests for _, tests in proved):
            continue
        lines.append(f"## {FAMILIES[family]}\n")
        for requirement, tests in proved:
            if tests:
                lines.append(f"**{requirement.id}** ({requirement.mark}) {requirement.statement}\n")
                lines.extend(f"- {test.sentence}<br>[`{test.name}`](../{test.path})" for test in tests)
                lines.append("")
    lines.append(REST)
    for family, names in groupby(uncited(catalogue, found), key=lambda name: name.split("-")[0]):
        lines.append(f"- {family}: {ranges(int(name.split('-')[1]) for name in names)}")
    return "\n".join(lines).rstrip() + "\n"


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers, neighbours drawn together: ``5-9, 31``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def uncited(catalogue: dict[str, Requirement], found: list[Proof]) -> list[str]:
    """The ids that no test cites, in the catalogue's order."""
    cited = {name for proof in found for name in proof.ids}
    return [name for name in catalogue if name not in cited]


def main() -> int:
    """Write or check the page; the exit code."""
    catalogue, found = requirements(), list(proofs())
    page = render(catalogue, found)
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text() == page else 1
    PAGE.write_text(page)
    missing = uncited(catalogue, found)
    print(f"{len(catalogue) - len(missing)} of {len(catalogue)} requirements are proved; not cited by any test:")
    for family, names in groupby(missing, key=lambda name: name.split("-")[0]):
        print(f"  {family}: {ranges(int(name.split('-')[1]) for name in names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
