"""The page of the lifecycle is the one the code's table draws."""

from __future__ import annotations

from tools import draw_states


def test_the_page_of_states_is_drawn_from_the_table() -> None:
    """docs/reference/states.md is what tools/draw_states.py writes; run it after changing a move."""
    assert draw_states.PAGE.read_text() == draw_states.render()
