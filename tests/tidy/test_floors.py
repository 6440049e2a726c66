"""The floors of the house, checked by import-linter, and the contract file, checked against the house."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys

from tests.tidy import source

CONTRACTS = source.ROOT / ".importlinter"
STOREYS = {"model", "rules", "ops", "loops"}


def _contract(name: str, option: str) -> str:
    parser = configparser.ConfigParser()
    parser.read(CONTRACTS)
    return parser.get(f"importlinter:contract:{name}", option, fallback="")


def test_every_import_contract_is_kept() -> None:
    """A line may only look down: cli, contrib or testing, app, jobs, fleet, pg or runtime, sql, core."""
    # In a process of its own: it configures logging, which would silence the loggers that other tests listen to.
    check = f"import sys, importlinter.cli as cli; sys.exit(cli.lint_imports({str(CONTRACTS)!r}, no_cache=True))"
    ended = subprocess.run([sys.executable, "-c", check], cwd=source.ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout


def test_no_room_that_stands_is_optional() -> None:
    """A layer in parentheses may be absent; a room that exists has lost its parentheses."""
    optional = set(re.findall(r"\((\w+)\)", _contract("floors", "layers")))
    standing = {path.stem for path in source.PACKAGE.glob("*.py")}
    standing |= {path.parent.name for path in source.PACKAGE.glob("*/__init__.py")}

    assert optional & standing == set()


def test_every_room_with_storeys_is_held_to_their_order() -> None:
    """A package with two storeys or more is a container of a contract of storeys: loops > ops > rules > model."""
    rooms = {
        f"perdure.{path.parent.name}"
        for path in source.PACKAGE.glob("*/__init__.py")
        if len({inner.stem for inner in path.parent.iterdir()} & STOREYS) >= 2
    }

    assert rooms <= set(f"{_contract('rooms', 'containers')} {_contract('workflows', 'containers')}".split())


def test_every_folder_of_code_is_a_package() -> None:
    """A folder with modules has an ``__init__``: without one the import contracts wouldn't see what is in it."""
    folders = {path.parent for path in source.python_files("src") if path.parent != source.ROOT / "src"}

    assert sorted(source.shown(path) for path in folders if not (path / "__init__.py").exists()) == []
