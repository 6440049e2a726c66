"""``python -m perdure.cli``."""

from __future__ import annotations

from .program import main

main()
