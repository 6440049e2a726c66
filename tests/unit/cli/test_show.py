"""Tables on a terminal."""

from __future__ import annotations

import re
import sys

import pytest

from perdure.cli import show


def test_a_narrow_terminal_cuts_off_what_is_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids, places and other short columns are shown whole on 80 columns; a long text gives way. Red when every column
    may shrink."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    columns = ("id", "task", "place", "attempt", "error")
    show.table(columns, [(6_123_456, "send_receipt", "scheduled", 12, "the printer is on fire " * 8)], empty="none")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    assert all(word in shown for word in ("6123456", "scheduled", "attempt", "12", "the printer"))
    assert max(map(len, shown.splitlines())) <= 80
