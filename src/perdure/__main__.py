"""``python -m perdure``."""

from __future__ import annotations

from .cli import main

main()
