"""Random programs, drawn by Hypothesis, and some that stand in every set: what must not be left to chance."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.chaos.programs import Line, Program


def _line(kind: str, *rest: Any) -> st.SearchStrategy[Line]:
    return st.tuples(st.just(kind), *rest).map(list)


_few, _value, _moment = st.integers(1, 3), st.integers(0, 9), st.integers(0, 300)
_well = [
    _line("step", _value), _line("undoable", _value), _line("falter", _few), _line("sleep", _moment),
    _line("signal", st.integers(0, 2)), _line("token", st.just(0)), _line("answer", st.just(0)),
]  # fmt: skip
_badly = [_line("stumble", _few), _line("overdue"), _line("late", st.integers(1, 100))]
_booked = [_line("post", _value), _line("refuse", _few), _line("bounce", _few)]
_written = [_line("pay", _value), _line("decline", _few), _line("patch")]
_members = st.lists(st.one_of(*_well, *_badly, *_booked, _line("undoable", _value)), min_size=1, max_size=4)
_lines: st.SearchStrategy[Line] = st.deferred(lambda: _any_line())
_child = _line("child", st.lists(_lines, max_size=3), st.booleans())
_gather = st.one_of(
    _line("gather", st.just("collect_all"), st.just(0), st.booleans(),
          st.lists(st.one_of(*_well, *_badly, *_booked, _child), min_size=1, max_size=4)),
    _line("gather", st.just("fail_fast"), st.just(0), st.booleans(), _members),
    _line("gather", st.just("quorum"), _few, st.booleans(), _members),
)  # fmt: skip


def _any_line() -> st.SearchStrategy[Line]:
    return st.one_of(
        *_well, *_badly, *_booked, *_written, _gather, _gather, _child, _line("detach", st.lists(_lines, max_size=3)),
        _line("guard", st.lists(_lines, min_size=1, max_size=3)), _line("raise"), _line("pivot"), _line("never"),
    )  # fmt: skip


_programs = st.tuples(
    st.lists(_lines, min_size=1, max_size=6), st.one_of(st.none(), st.lists(_lines, min_size=1, max_size=3))
).map(lambda drawn: drawn[0] if drawn[1] is None else [*drawn[0], ["again", drawn[1]]])

ALWAYS: list[Program] = [
    [["undoable", 1], ["undoable", 2], ["never"]],
    [["undoable", 1], ["gather", "collect_all", 0, False, [["undoable", 2], ["step", 3], ["never"]]]],
    [["undoable", 1], ["gather", "fail_fast", 0, True, [["step", 2], ["undoable", 3], ["stumble", 1]]], ["raise"]],
    [["undoable", 1], ["guard", [["pay", 2], ["child", [["undoable", 3], ["never"]], True]]], ["raise"]],
    [["undoable", 1], ["child", [["undoable", 2], ["post", 3], ["never"]], False]],
    [["signal", 0], ["pay", 1], ["again", [["signal", 0], ["undoable", 2], ["decline", 2], ["raise"]]]],
    [["undoable", 1], ["pivot"], ["undoable", 2], ["patch"], ["detach", [["undoable", 3], ["raise"]]], ["raise"]],
    [["patch"], ["sleep", 300], ["patch"], ["late", 50], ["patch"], ["falter", 3], ["patch"]],
    [["gather", "quorum", 1, False, [["undoable", 1], ["never"], ["overdue"]]], ["undoable", 2], ["raise"]],
    [["gather", "collect_all", 0, True, [["post", 1], ["refuse", 2], ["bounce", 2], ["post", 9]]],
     ["gather", "fail_fast", 0, True, [["refuse", 1], ["undoable", 2], ["stumble", 1], ["post", 1]]],
     ["gather", "quorum", 2, False, [["post", 1], ["post", 9], ["post", 0], ["bounce", 1]]], ["raise"]],
    [["gather", "fail_fast", 0, False, [["refuse", 1], ["bounce", 1]]],
     ["gather", "collect_all", 0, False, [["post", 3], ["post", 4], ["never"]]]],
    [["gather", "collect_all", 0, False, [["token", 0], ["step", 1], ["token", 1], ["token", 0]]], ["answer", 0],
     ["gather", "fail_fast", 0, False, [["answer", 0], ["sleep", 20], ["token", 0]]], ["answer", 1]],
    [["pivot"], ["gather", "fail_fast", 0, True, [["undoable", 1], ["undoable", 2], ["stumble", 1]]], ["step", 3]],
]  # fmt: skip
"""A cancel at a wait, in a gathering, of a child and of its parent; a gathering that is undone, in a run that fails
later and in one that doesn't; transactions in some that are decided early, and in one that is cancelled; tokens, and
what was answered to them; and so on."""


def dreamt(number: int, count: int) -> list[Program]:
    """So many programs: the same for the same number."""
    found: list[Program] = []

    @seed(number)
    @settings(max_examples=4 * count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_programs)
    def draw(program: Program) -> None:
        found.append(program)

    draw()
    long = sorted(found, key=lambda program: len(str(program)))[len(found) // 3 :]  # the short ones say little
    chosen = random.Random(number).sample(long, min(count, len(long)))
    return [_tame(program) for program in (*ALWAYS, *chosen)]


def _tame(program: Program) -> Program:
    """Without waits that nothing ends: past the pivot a cancel comes too late, and to what has no token nobody
    answers."""
    return _tamed(program, False, Counter())[0]


def _tamed(lines: Program, pivoted: bool, tokens: Counter[int]) -> tuple[Program, bool]:
    """``tokens``: those that are surely there and that no line before these has waited for."""
    found: Program = []
    for kind, *rest in lines:
        if kind == "never" and pivoted:
            continue
        line = [kind, *rest]
        if kind == "answer" and tokens[rest[0]] < 1:
            line = ["token", *rest]
        elif kind == "guard":
            inner, pivoted = _tamed(rest[0], pivoted, tokens)
            line = [kind, inner]
        elif kind in ("child", "detach", "again"):
            line = [kind, _tame(rest[0]), *rest[1:]]
        elif kind == "gather":
            members, _ = _tamed(rest[3], pivoted, tokens)
            if rest[0] != "collect_all":  # one that was stopped isn't there
                tokens.subtract(each[1] for each in members if each[0] == "token")
            line = [kind, rest[0], min(rest[1], len(members)), rest[2], members or [["step", 0]]]
        if line[0] in ("token", "answer"):
            tokens[line[1]] += 1 if line[0] == "token" else -1
        pivoted = pivoted or kind == "pivot"
        found.append(line)
    return found, pivoted
