"""The plain model of a random program: what it brings and what it leaves behind, told by reading it line by line.

A reading is given what can't be known from the program: how the run and its children have ended, where it was told to
stop, which steps had begun, and which members of a gathering had ended when it was decided. All else it says itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perdure.workflows.turns import AT_END
from tests.chaos.programs import Line, Program

UNDOABLE = ("undoable", "falter", "overdue")
FAILING = {
    "stumble": "ValueError", "overdue": "TimeoutError", "late": "TimeoutError", "refuse": "ValueError",
    "decline": "ValueError", "bounce": "RaiseException",
}  # fmt: skip
WRITING = ("step", "stumble", *UNDOABLE)
BOOKING = ("pay", "post")


@dataclass
class Fact:
    """What has become of a run. ``stopped_at``: where it was told to end; ``begun``: its steps, of the last round, of
    which an attempt is recorded; ``ended``: how each of its steps was recorded, by round and name; ``done``: its
    effects."""

    state: str
    round: int
    result: Any
    stopped_at: str | None
    begun: set[str] = field(default_factory=set)
    ended: dict[tuple[int, str], str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    booked: list[str] = field(default_factory=list)

    @property
    def ending(self) -> str:
        """How a parent that waits for it hears of its end: None, or the kind of the failure."""
        return {"completed": "", "cancelled": "WorkflowCancelled"}.get(self.state, "WorkflowFailed")


class Fails(Exception):
    """The code has raised."""


class Stops(Exception):
    """The run is told to end."""


class Reading:
    """One run, read. ``must`` and ``may``: effects that are there, and that may be there; ``booked``: rows of its
    transactions; ``children``: programs of those it may have started, by id; ``ways``: how it went at patches;
    ``undoable``: the steps to be undone, by which line they are of; ``at_once``: what was undone beside a failure."""

    def __init__(self, id: str, program: Program, facts: Mapping[str, Fact]) -> None:
        self.id, self._facts, self._fact = id, facts, facts[id]
        self.must: set[str] = set()
        self.may: set[str] = set()
        self.booked: list[str] = []
        self.children: dict[str, Program] = {}
        self.started: set[str] = set()
        self.ways: list[str] = []
        self.result: Any = None
        self._round = 0
        self.undoable: dict[str, int] = {}
        self.at_once: set[str] = set()
        self._lines = 0
        self._counts: Counter[str] = Counter()
        self._pivoted = self._told = False
        self.state = self._read(program)

    def _read(self, program: Program) -> str:
        if self._fact.state in ("cancelled", "deadline") and self._fact.stopped_at is None:
            return self._fact.state  # before it began
        try:
            self.result = self._program(program, "")
        except Stops:
            self._undo()
            return "deadline" if self._fact.state == "deadline" else "cancelled"
        except Fails:
            return "compensated" if self._undo() else "failed"
        assert self._round == self._fact.round, "rounds"
        return "completed"

    def _undo(self) -> bool:
        """What is compensated: what has begun."""
        begun = {f"undo {name}" for name in self.undoable if name in self._fact.begun}
        self.must |= begun
        return bool(begun)

    def _program(self, program: Program, path: str) -> Any:
        found = []
        for number, line in enumerate(program):
            if line[0] == "again":
                self._reach(AT_END)
                self._round += 1
                self.undoable, self._pivoted, self._counts = {}, False, Counter()
                return self._program(line[1], f"{path}{number}~")
            found.append(self._line(f"{path}{number}", line))
        self._reach(AT_END)
        return found

    def _line(self, name: str, line: Line) -> Any:
        kind, *rest = line
        self._lines += 1
        if kind == "raise":
            raise Fails
        if kind == "pivot":
            self._pivoted, self.undoable = True, {}
            return None
        if kind == "guard":
            return self._guard(name, rest[0])
        if kind == "gather":
            return self._gather(name, *rest)
        if kind == "patch":
            return self._patch(name)
        try:
            self._reach(self._named(name, line))
        except Stops:
            self._perhaps(name, line)
            raise
        failure = self._passed(name, line)
        if failure and kind == "child" and not rest[1]:
            raise Fails
        return failure or self._value(name, line)

    def _guard(self, name: str, lines: Program) -> Any:
        try:
            return [self._line(f"{name}.{number}", line) for number, line in enumerate(lines)]
        finally:
            tidy = f"{name}.tidy"
            self._line(tidy, ["step", None])

    def _patch(self, name: str) -> str:
        new, old = f"{name}.new", f"{name}.old"
        way = "new" if new in self._fact.done or self._fact.stopped_at == new else "old"
        if way == "new":
            self.may.add(old)  # the old code had done that, and was killed before it was recorded
        self._line(f"{name}.{way}", ["step", None])
        self.ways.append(way)
        return way

    def _gather(self, name: str, mode: str, needed: int, undone: bool, members: Program) -> Any:
        names = [f"{name}.{number}" for number in range(len(members))]
        named = list(map(self._named, names, members))
        ended = [self._fact.ended.get((self._round, each), "") for each in named]
        try:
            self._reach(f"gather {named[0]}")
        except Stops:
            for each, line, end in zip(names, members, ended, strict=True):
                self._member(each, line, end or "cancelled")
            raise
        # that a sleep is over needn't be written
        ended = [end or ("done" if line[0] == "sleep" else "") for line, end in zip(members, ended, strict=True)]
        kinds = Counter(self._sort(line[0]) for line in members)
        early = mode != "collect_all" and (kinds["fails"] or kinds["never"] or 0 < needed < len(members))
        fails = early and self._verdict(name, len(members), kinds, needed, Counter(ended))
        assert early or "cancelled" not in ended, f"{self.id} stopped some of {name}, which needs all"
        brought = []
        for each, line, end in zip(names, members, ended, strict=True):
            brought.append(self._member(each, line, end))
            if fails and undone and end == "done" and line[0] in UNDOABLE:
                self.at_once.add(f"undo {each}")
        self.must |= self.at_once
        return ["failed" if fails else "gathered", *brought]

    def _verdict(self, name: str, count: int, kinds: Counter[str], needed: int, ended: Counter[str]) -> bool:
        """Whether one fails in which some may be stopped: which, isn't known from the program, but that those that have
        ended settle it."""
        fails = kinds["fails"] > 0 if not needed else count - kinds["fails"] < needed
        assert fails or (needed and kinds["well"] >= needed), f"{self.id} went past {name}, which nothing ends"
        settled = count - ended["failed"] < (needed or count) if fails else ended["done"] >= needed
        assert settled, f"{self.id} went past {name} too early"
        return fails

    def _member(self, name: str, line: Line, end: str) -> Any:
        """One of a gathering, which is recorded as having ended so: what it brings."""
        if end == "cancelled":
            self._perhaps(name, line)
            return "Cancelled"
        failure = self._passed(name, line)
        assert end == ("failed" if failure else "done"), f"{self.id} has {name} {end}"
        return failure or self._value(name, line)

    @staticmethod
    def _sort(kind: str) -> str:
        return "never" if kind == "never" else "fails" if kind in FAILING else "well"

    def _named(self, name: str, line: Line) -> str:
        """What the line is recorded as."""
        kind, *rest = line
        match kind:
            case "child" | "detach":
                return f"child {self.id}/{name}"
            case "sleep":
                base = "sleep"
            case "signal":
                base = f"signal s{rest[0]}"
            case "late" | "never":
                base = f"signal {kind}"
            case "token":
                base = f"token t{rest[0]}"
            case "answer":
                base = f"signal t{rest[0]}"
            case _:
                return name
        self._counts[base] += 1
        return base if self._counts[base] == 1 else f"{base}#{self._counts[base]}"

    def _reach(self, recorded: str) -> None:
        """Whether this is where the run was told to end."""
        if recorded == self._fact.stopped_at and self._round == self._fact.round and not self._told:
            self._told = True
            raise Stops

    def _perhaps(self, name: str, line: Line) -> None:
        """A line that was cut off: what it does may have happened; but a transaction has been rolled back."""
        if line[0] in WRITING:
            self.may.add(name)
        self._registered(name, line)
        if line[0] == "child":
            self.children[f"{self.id}/{name}"] = line[1]

    def _registered(self, name: str, line: Line) -> None:
        if line[0] in UNDOABLE and not self._pivoted:
            self.undoable[name] = self._lines

    def _passed(self, name: str, line: Line) -> str:
        """A line that has ended: what it did has happened. The kind of its failure, if it has failed."""
        kind, *rest = line
        assert kind != "never", f"{self.id} went past {name}, which nothing ends"
        self._registered(name, line)
        if kind in WRITING:
            (self.may if kind == "overdue" else self.must).add(name)
            last = self._round == self._fact.round
            assert not last or name in self._fact.begun, f"{self.id} has no record of {name}"
        elif kind in BOOKING:
            self.booked.append(name)
        elif kind in ("child", "detach"):
            child = f"{self.id}/{name}"
            self.children[child] = rest[0]
            self.started.add(child)
            return "" if kind == "detach" else self._facts[child].ending
        return FAILING.get(kind, "")

    def _value(self, name: str, line: Line) -> Any:
        kind, *rest = line
        if kind in ("step", "undoable", "falter", *BOOKING):
            return rest[0]
        if kind in ("signal", "answer"):
            return f"{self.id} {'s' if kind == 'signal' else 't'}{rest[0]}"
        if kind == "token":
            return True
        if kind == "child":
            return self._facts[f"{self.id}/{name}"].result
        return f"{self.id}/{name}" if kind == "detach" else None


def signals(program: Program) -> Iterable[str]:
    """The signals that a run of the program waits for, in all its rounds."""
    for kind, *rest in program:
        if kind == "signal":
            yield f"s{rest[0]}"
        elif kind in ("guard", "again"):
            yield from signals(rest[0])
        elif kind == "gather":
            yield from signals(rest[3])


def family(id: str, program: Program) -> dict[str, Program]:
    """The program of the run, and those of all it may start, by id."""
    found = {id: program}
    _search(id, program, "", found)
    return found


def _search(id: str, lines: Program, path: str, found: dict[str, Program]) -> None:
    for number, (kind, *rest) in enumerate(lines):
        name = f"{path}{number}"
        if kind in ("child", "detach"):
            found |= family(f"{id}/{name}", rest[0])
        elif kind == "again":
            _search(id, rest[0], f"{name}~", found)
        elif kind == "guard":
            _search(id, rest[0], f"{name}.", found)
        elif kind == "gather":
            _search(id, rest[3], f"{name}.", found)
