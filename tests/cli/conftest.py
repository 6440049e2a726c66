"""What the tests of the program share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from perdure.cli.program import run
from tests.cli.terminal import SHOP
from tests.conftest import Database

Ask: TypeAlias = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with an app in it: ``shop:app``."""
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@pytest.fixture
def ask(db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """``ask("jobs", "get", "1")``: the document that the command writes with ``--json``; it ends with ``code``."""
    monkeypatch.setenv("DATABASE_URL", db.url)

    def asked(*arguments: str, code: int = 0) -> Any:
        assert run([*arguments, "--json"]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return asked
