"""The memory a process may use is the least that any of its control groups allows, and what the machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.jobs.loops.isolator import share
from perdure.runtime.memory import budget_bytes

MIB = 1024 * 1024
MACHINE = f"MemTotal:       {8 * 1024 * 1024} kB\nMemFree: 1 kB\n"


def _written(root: Path, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "proc", root / "cgroup"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8 * 1024 * MIB),
        ({"cgroup/memory.max": f"{512 * MIB}\n"}, 512 * MIB),
        ({"cgroup/pod/app/memory.max": "max\n", "cgroup/pod/memory.max": f"{300 * MIB}\n"}, 300 * MIB),
        ({"cgroup/pod/app/memory.max": f"{200 * MIB}\n", "cgroup/pod/memory.max": f"{300 * MIB}\n"}, 200 * MIB),
        ({"cgroup/unified/pod/memory.max": f"{100 * MIB}\n"}, 100 * MIB),
        ({"cgroup/memory/v1/memory.limit_in_bytes": f"{400 * MIB}\n"}, 400 * MIB),
        ({"cgroup/memory/v1/memory.limit_in_bytes": "9223372036854771712\n"}, 8 * 1024 * MIB),
        ({"cgroup/memory/memory.limit_in_bytes": f"{150 * MIB}\n"}, 150 * MIB),
    ],
    ids=["none", "root", "ancestor", "own", "hybrid", "v1", "v1 unlimited", "v1 ancestor"],
)
def test_the_budget_is_the_least_of_all_groups(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """Version 2 and version 1, the group itself and every ancestor; without a limit it is the machine [OPS-75]. Red
    when only the group itself is read."""
    groups = "3:cpu,cpuacct:/x\n2:memory:/v1\n0::/pod/app\n"
    proc, cgroups = _written(tmp_path, {"proc/self/cgroup": groups, "proc/meminfo": MACHINE, **files})

    assert budget_bytes(proc, cgroups) == expected


def test_no_budget_is_told_elsewhere(tmp_path: Path) -> None:
    """A system without these files has none."""
    assert budget_bytes(tmp_path, tmp_path) is None


def test_children_share_less_than_the_budget() -> None:
    """All children together stay below the budget with room for the worker, and are fewer where memory is short: a
    child meets its limit before the container meets its own [OPS-75]. Red when each gets what one alone could have."""
    for budget in (256 * MIB, 1024 * MIB, 4096 * MIB, 65_536 * MIB):
        for most in (1, 16, 128):
            count, each = share(budget, most)
            assert each is not None
            assert 1 <= count <= most
            assert count * each <= 0.6 * budget
            assert count == 1 or each >= 256 * MIB

    assert share(None, 4) == (4, None)
