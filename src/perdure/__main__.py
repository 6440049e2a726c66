"""``python -m perdure``. The children of a worker run this file, too, under another name and outside of its package."""

from __future__ import annotations

from perdure.cli import main

if __name__ == "__main__":
    main()
