"""Statements as source: one file each under ``statements/<room>/<verb>.sql``, loaded once, named ``room.verb``.

Beside them stand the reports, ``reports/<topic>/<question>.sql``: read-only, without parameters, for people in psql
too; the first line is the question.

The files are written for psql: the schema is literally ``perdure`` and parameters are ``%(name)s``. ``compiled``
puts in the configured schema and the driver's parameter style. Nothing else in the code holds SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeVar

from ..core.op import Row, Statement

T = TypeVar("T")

_PARAMETER = re.compile(r"%\((\w+)\)s")
_ARRAY = re.compile(r"%\((\w+)\)s(?=::\w+\[\])")
_SCHEMA = re.compile(r"\bperdure\b")
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


def statement(name: str, read: Callable[[Row], T]) -> Statement[T]:
    """The statement ``room.verb`` and how one of its rows is read. Raises FileNotFoundError for an unknown name."""
    room, verb = name.split(".")
    text = files(__package__).joinpath("statements", room, f"{verb}.sql").read_text(encoding="utf-8")
    return Statement(name, _COMMENT.sub("", text).strip().rstrip(";"), read)


def together(name: str, first: Statement[Any], then: Statement[T]) -> Statement[T]:
    """Both in one round trip, and on one snapshot: ``first``, whose rows nobody asks for, changes what ``then`` doesn't
    read (PostgreSQL manual, 7.8.4, "Data-Modifying Statements in WITH")."""
    return Statement(name, f"with first as (\n{first.text}\n)\n{then.text}", then.read)


def report(name: str, read: Callable[[Row], T]) -> Statement[T]:
    """The report ``topic.question`` and how one of its rows is read. Raises FileNotFoundError for an unknown name."""
    return Statement(name, _COMMENT.sub("", report_text(name)).strip().rstrip(";"), read)


def report_text(name: str) -> str:
    """The file of a report as it stands, with its heading."""
    topic, question = name.split(".")
    return files(__package__).joinpath("reports", topic, f"{question}.sql").read_text(encoding="utf-8")


def report_names() -> list[str]:
    """Every report, by topic and question."""
    topics = [each for each in files(__package__).joinpath("reports").iterdir() if each.is_dir()]
    return sorted(f"{topic.name}.{path.name.removesuffix('.sql')}" for topic in topics for path in topic.iterdir())


def in_schema(text: str, schema: str) -> str:
    """The text with its schema ``perdure`` replaced. ``schema`` must be a plain lower-case identifier."""
    return text if schema == "perdure" else _SCHEMA.sub(schema, text)


@lru_cache(maxsize=4096)
def compiled(statement: Statement[Any], schema: str) -> str:
    """The statement for psycopg: ``%(name)s`` parameters, the configured schema.

    Arrays go in binary: as text, psycopg quotes each element in Python, 17 µs for one of 100 characters against 0.3.
    """
    return _ARRAY.sub(r"%(\1)b", in_schema(statement.text, schema))


@lru_cache(maxsize=4096)
def numbered(statement: Statement[Any], schema: str) -> tuple[str, tuple[str, ...]]:
    """The statement for asyncpg: ``$1, $2, …``, and the names of the parameters in that order."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = _PARAMETER.sub(number, in_schema(statement.text, schema)).replace("%%", "%")
    return text, tuple(names)
