"""``module:app`` from a command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.app.loading import load_app
from perdure.core.errors import ImportFailed


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory with modules of its own, forgotten afterwards."""
    (tmp_path / "shop_ok.py").write_text('import perdure\napp = perdure.App("shop")\nnot_app = 3\n')
    (tmp_path / "shop_needs.py").write_text("import shop_nowhere\n")
    (tmp_path / "shop_fails.py").write_text("1 / 0\n")
    (tmp_path / "shop_ends.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "shop_typo.py").write_text("def (:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith("shop_")]:
        del sys.modules[name]


def test_an_app_is_found_in_the_working_directory() -> None:
    """A module beside the person at the terminal can be named without installing it."""
    assert load_app("shop_ok:app").name == "shop"


@pytest.mark.parametrize(
    ("path", "problem", "fix"),
    [
        ("shop_ok", "not of the form module:app", "shop.jobs:app"),
        ("shop_ok.py:app", "there is no module", "run in the directory"),
        ("shop/ok:app", "not of the form", "shop.jobs:app"),
        (":app", "not of the form", "shop.jobs:app"),
        ("shop_none:app", "there is no module 'shop_none'", "run in the directory"),
        ("shop_ok:other", "shop_ok has no 'other'", "use shop_ok:app"),
        ("shop_ok:not_app", "is of type int, not an App", "use shop_ok:app"),
        ("shop_needs:app", "imports 'shop_nowhere', which isn't installed", "install shop_nowhere"),
        ("shop_fails:app", "raised ZeroDivisionError: division by zero", "make `import shop_fails` work"),
        ("shop_ends:app", "raised SystemExit: 3", "make `import shop_ends` work"),
        ("shop_typo:app", "raised SyntaxError", "make `import shop_typo` work"),
    ],
)
def test_an_app_that_cannot_be_loaded_says_why(path: str, problem: str, fix: str) -> None:
    """Each way of failing names the module, what went wrong and what to do."""
    with pytest.raises(ImportFailed) as caught:
        load_app(path)

    assert problem in caught.value.message
    assert fix in (caught.value.fix or "")
