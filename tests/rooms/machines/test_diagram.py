"""What is drawn of a machine: a Mermaid state diagram."""

from __future__ import annotations

import re
from datetime import timedelta

from perdure import Machine, Transition
from tests.rooms.machines.test_machines import ORDER

TAKEN = re.compile(r'    state "[^"]+" as \w+|    (\[\*\]|\w+) --> (\[\*\]|\w+)(: [^:;\n]+)?')
"""Lines that Mermaid can read: ids are plain words, and a label ends at a colon (before version 11)."""


def test_a_machine_draws_itself() -> None:
    """The diagram has every transition, the beginning and the ends."""
    drawn = ORDER.mermaid().splitlines()

    assert drawn[:3] == ["stateDiagram-v2", "    [*] --> created", "    created --> paid: pay [guarded]"]
    assert drawn[-1] == "    shipped --> [*]"
    assert len(drawn) == 2 + len(ORDER.table) + len(ORDER.final)


def test_a_diagram_is_one_that_mermaid_reads() -> None:
    """States with a hyphen, or called what Mermaid keeps for itself, are drawn under ids of their own with their names
    on them, and a time is told without colons [PAT-9]. Red when names and times are written as they are: Mermaid 11
    reads neither, and draws nothing at all."""
    machine = Machine(
        "saga",
        initial="charged",
        transitions=[
            Transition("missing", "charged", "stalled-at-2", after=timedelta(days=1, hours=2, seconds=1.5)),
            Transition("told", "charged", "Note"),
            Transition("give.up", "stalled-at-2", "a/b", after=timedelta(minutes=5)),
        ],
    )

    assert machine.mermaid().splitlines() == [
        "stateDiagram-v2",
        '    state "stalled-at-2" as _1',
        '    state "Note" as _2',
        '    state "a/b" as _3',
        "    [*] --> charged",
        "    charged --> _1: missing after 1 d 2 h 1.5 s",
        "    charged --> _2: told",
        "    _1 --> _3: give.up after 5 min",
        "    _2 --> [*]",
        "    _3 --> [*]",
    ]
    assert all(TAKEN.fullmatch(line) for drawn in (machine, ORDER) for line in drawn.mermaid().splitlines()[1:])
