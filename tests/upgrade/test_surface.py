"""What was published stays: names, parameters, commands, fields and SQL functions of the last release, held against
this one. Whoever breaks one says so in ``BROKEN``, under a version that may.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from perdure.pg.migrate import migrate
from tests.conftest import Database
from tests.upgrade.previous import HERE, unpacked

BROKEN: dict[str, str] = {}
"""What was taken away or changed on purpose, and the version that did. Before 1.0 a minor version may, later a major
one; a SQL function never, since other programs call it by its number: there is a ``_v2`` then, beside it."""

Surface = dict[str, dict[str, bool]]


def _published(release: Path | None) -> Surface:
    """What a release publishes (None: the one under test), as its own code says."""
    path = [*sys.path] if release is None else [str(release), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, str(HERE / "surface.py")]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=HERE).stdout
    found: Surface = json.loads(said)
    return found


def broken(before: Surface, now: Surface) -> list[str]:
    """What a program written for the former finds changed: names that are gone, and what is taken or asked anew."""
    gone = [name for name in before if name not in now]
    lost = [
        f"{name}: {each}" for name, taken in before.items() if name in now for each in taken if each not in now[name]
    ]
    asked = [
        f"{name}: {each} must be given"
        for name, taken in before.items()
        for each, must in now.get(name, {}).items()
        if must and not taken.get(each, False)
    ]
    return sorted([*gone, *lost, *asked])


def _of_database(conn: Any) -> Surface:
    """The SQL functions that other languages call, and the columns of the view that people read."""
    functions = conn.execute(
        "select p.proname, coalesce(p.proargnames, '{}'), p.proargtypes::regtype[]::text[], p.pronargdefaults, "
        "p.prorettype::regtype::text from pg_proc p "
        "where p.pronamespace = 'perdure'::regnamespace and p.proname ~ '_v[0-9]+$'"
    ).fetchall()
    found: Surface = {}
    for name, arguments, types, defaults, returned in functions:
        places = range(len(types))
        found[f"sql {name} returns {returned}"] = {
            f"{place} {arguments[place]} {types[place]}": place < len(types) - defaults for place in places
        }
    columns = conn.execute(
        "select attname, atttypid::regtype::text from pg_attribute "
        "where attrelid = 'perdure.jobs'::regclass and attnum > 0"
    ).fetchall()
    return found | {"view jobs": {f"{name} {kind}": False for name, kind in columns}}


def test_what_the_last_release_published_is_still_there(tmp_path: Path) -> None:
    """Every public name of the last release, with its parameters, its fields and the code of each error, and every
    command with its options are in this one, and none asks for more; what isn't is listed, under a version that may
    break [ARC-52]. Red when a parameter of a verb, or a field of what it returns, is renamed."""
    (wheel,) = HERE.glob("perdure-*.whl")
    old, new = wheel.name.split("-")[1].split("."), version("perdure").split(".")
    before = _published(unpacked(tmp_path))

    assert {"perdure.App", "Jobs.enqueue", "Job.fields", "$ perdure jobs list", "error job_not_found"} <= before.keys()
    assert broken(before, _published(None)) == sorted(BROKEN)
    assert all(made == version("perdure") for made in BROKEN.values())
    may_break = new[0] != old[0] or (new[0] == "0" and new[1] != old[1])
    assert not BROKEN or may_break, "a breaking change needs a new version"


def test_sql_that_others_call_never_changes(empty_db: Database, tmp_path: Path) -> None:
    """The numbered SQL functions take the arguments they took, by place, name and type, and return what they returned;
    new ones come last and may be left out; the view ``jobs`` keeps its columns [ARC-52, DW-12]. Red when a migration
    renames an argument of ``enqueue_v1``."""
    environment = {
        **os.environ,
        "DATABASE_URL": empty_db.url,
        "PYTHONPATH": os.pathsep.join([str(unpacked(tmp_path)), *sys.path]),
    }
    subprocess.run([sys.executable, "-m", "perdure", "migrate"], env=environment, check=True, cwd=tmp_path)
    conn = empty_db.connect()
    before = _of_database(conn)
    migrate(conn)

    assert len(before) >= 3
    assert broken(before, _of_database(conn)) == []


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"a": {"x": True}}, ["b"]),
        ({"a": {"y": True}, "b": {}}, ["a: x", "a: y must be given"]),
        ({"a": {"x": True, "y": True}, "b": {}}, ["a: y must be given"]),
        ({"a": {"x": False, "y": False}, "b": {"z": False}, "c": {}}, []),
    ],
    ids=["gone", "renamed", "asked anew", "only more"],
)
def test_what_breaks_is_told_from_what_grows(now: Surface, told: list[str]) -> None:
    """A name that is gone, a parameter that is renamed and one that must be given breaks; what may be left out doesn't
    [ARC-52]."""
    assert broken({"a": {"x": True}, "b": {}}, now) == told
