"""The catalogue of fault points, and what arms them."""

from __future__ import annotations

import ast

import pytest

from perdure.core.errors import ConfigError
from perdure.runtime import faults
from tests.tidy.source import dotted, python_files, tree


def test_every_fault_point_is_in_the_catalogue_and_off() -> None:
    """The points in the code are those of the catalogue, each with a sentence that says what is so there, and none is
    armed unless the environment says so. Red when a point is added or moved in one place only."""
    found = {
        str(node.args[0].value)
        for path in python_files("src")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and dotted(node.func) == "faults.point" and isinstance(node.args[0], ast.Constant)
    }

    assert found == set(faults.POINTS)
    assert set(faults.FAILING) <= found
    assert all(len(said) > 20 for said in faults.POINTS.values())
    assert faults.armed == {}
    for name in found:
        faults.point(name)


@pytest.mark.parametrize("text", ["claim.never:kill", "claim.after:explode", "run.before:raise", "claim.after@x:kill"])
def test_a_fault_that_does_not_exist_is_refused(text: str) -> None:
    """A misspelt point or act is refused with what there is, instead of a test that proves nothing."""
    with pytest.raises(ConfigError, match="PERDURE_FAULT"):
        faults.arm(text)

    assert faults.armed == {}
