"""``module:app`` on a command line, as an App."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from ..core.errors import ImportFailed
from .registry import App


def load_app(path: str) -> App:
    """Import ``module:app`` (as ``shop.jobs:app``) and return the App.

    The App remembers the module, which may have set up what those of its tasks need.
    The working directory is put first on ``sys.path``, as ``python -m`` does, because console scripts leave it out.
    Raises ImportFailed, saying which module failed and why; the module's own error is its cause.
    """
    module_name, colon, attribute = path.partition(":")
    if not colon or not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ImportFailed(f"{path!r} is not of the form module:app", field="app", fix="write it as shop.jobs:app")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    module = _import(module_name)
    found: object = module
    for name in attribute.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, App):
        raise ImportFailed(_not_an_app(module, attribute, found), field="app", fix=_apps_of(module))
    found.found_in = module_name
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise ImportFailed(
                f"there is no module {missing!r}",
                field="app",
                fix=f"run in the directory that holds it (now {os.getcwd()}), or install it",
            ) from error
        raise ImportFailed(
            f"{name} imports {missing!r}, which isn't installed", field="app", fix=f"install {missing}"
        ) from error
    except (Exception, SystemExit) as error:
        raise ImportFailed(
            f"importing {name} raised {type(error).__name__}: {error}", field="app", fix=f"make `import {name}` work"
        ) from error


def _not_an_app(module: ModuleType, attribute: str, found: object) -> str:
    if found is None:
        return f"{module.__name__} has no {attribute!r}"
    return f"{module.__name__}:{attribute} is of type {type(found).__name__}, not an App"


def _apps_of(module: ModuleType) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(value, App))
    return f"use {module.__name__}:{names[0]}" if names else f'declare one there: app = App("{module.__name__}")'
