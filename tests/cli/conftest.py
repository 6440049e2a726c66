"""What the tests of the program share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import SHOP


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with an app in it: ``shop:app``."""
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path
