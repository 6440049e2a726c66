"""Words that don't belong in a repository about a product.

A letter of each forbidden word stands in brackets, so that this file doesn't break its own rule.
"""

from __future__ import annotations

import re

from tests.tidy import source

FORBIDDEN = {
    "the path of one machine": r"(?<![\w.])/(?:work|home|Users|root|farm|opt|mnt|tmp)/\w",
    "unfinished work": r"\b(?:TO[D]O|FIX[M]E|X{3}|HAC[K]|NotImplemented[E]rror)\b",
    "who wrote it instead of what it is": (
        r"(?i)(?<!user[ -])(?<!user_)\b(?:sub-?)?[a]gents?\b|\bcl[a]ude\b|\banth[r]opic\b|\bll[m]s?\b"
        r"|\blanguage m[o]del"
    ),
    "a page that isn't in the repository": r"(?<![/\w])(?:kern[e]l|hous[e]|visio[n]|ap[i]|lo[g])\.md\b",
    "where packages are fetched from": r"(?i)\bpyp[i][.-]|--(?:extra-)?index-ur[l]",
}
BUCKETS = {"utils", "util", "helpers", "common", "misc", "types", "models", "base", "stuff"}


def test_the_repository_speaks_of_the_product_alone() -> None:
    """No file names a machine's path, unfinished work, its authors' tools or a page that isn't here."""
    found = [
        f"{source.shown(path)}:{number}: {kind}: {line.strip()[:100]}"
        for path in source.text_files()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        for kind, pattern in FORBIDDEN.items()
        if re.search(pattern, line)
    ]

    assert found == []


def test_no_module_is_a_bucket() -> None:
    """A module is named after its subject; ``utils`` and its kin name none."""
    found = [source.shown(path) for path in source.python_files("src") if path.stem in BUCKETS]

    assert found == []
