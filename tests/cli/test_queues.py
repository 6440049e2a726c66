"""``perdure queues apply``: what an app declares, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perdure.cli.program import run
from tests.conftest import Database

APP = """from perdure import App
app = App("shop")
app.queue("mail", max_depth={depth})
"""


def test_what_an_app_declares_is_written_and_binds_the_command_line_too(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``perdure queues apply`` says what it wrote, what stood there before and who had said so; from then on an
    enqueue that knows no app is refused, too [ARC-7]."""
    monkeypatch.setenv("DATABASE_URL", db.url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "bounded_shop.py").write_text(APP.format(depth=1))
    (tmp_path / "bounded_other.py").write_text(APP.format(depth=2).replace("shop", "other"))

    assert run(["queues", "apply", "bounded_shop:app"]) == 0
    assert run(["queues", "apply", "bounded_shop:app"]) == 0
    assert run(["enqueue", "send", "--queue", "mail"]) == 0
    assert run(["enqueue", "send", "--queue", "mail"]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[:2] == [
        "mail: at most 1 jobs, then reject",
        "mail: at most 1 jobs, then reject, as before",
    ]
    assert "holds 1 jobs of 1" in told.err

    assert run(["queues", "apply", "bounded_other:app", "--json"]) == 0
    [declared] = json.loads(capsys.readouterr().out)
    assert (declared["changed"], declared["before"]["max_depth"], declared["before_by"]) == (True, 1, "shop")
