"""Named fault points: places where a test may kill, freeze, delay or fail a process. Off unless PERDURE_FAULT arms one.

``PERDURE_FAULT=settle.before_flush:kill`` ends the process there with SIGKILL. ``:stop`` freezes it with SIGSTOP,
``:pause=2.5`` keeps its thread for so many seconds, ``:raise`` raises a transient error of the database and ``:lose`` a
lost connection, where the code around is ready for one. ``@N`` after the name waits for the N-th passing, a comma
parts several. A fault point costs one truth test when none is armed.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping

from ..core.errors import ConfigError, ConnectionLost, TransientError

POINTS: Mapping[str, str] = {
    "claim.before": "a claim is about to be sent; nothing is held yet",
    "claim.after": "a claim has committed, and nobody in this process knows its jobs",
    "recover.before_leases": "the worker has a new incarnation, and hasn't read what it holds",
    "run.before": "a job is about to start",
    "run.after": "a handler has ended, and its end hasn't been handed over",
    "handler.before_commit": "a handler's own transaction holds what it wrote and the end of its job, uncommitted",
    "handler.after_commit": "both are committed, and this process hasn't noted it",
    "settle.before_flush": "ends have been collected and aren't sent",
    "settle.after_flush": "ends are committed, and this process hasn't noted it",
    "child.before": "a call is about to be handed to a child process",
    "child.called": "in the child: the handler is about to be called",
    "bury.after": "a worker has been declared dead, and its leases are still its own",
    "rescue.before": "lost leases have been seen, and none is touched",
    "rescue.after": "a lost lease's jobs are back, and the lease's row is still there",
    "promote.before": "jobs are due, and none is moved",
    "promote.after": "due jobs have been moved, and nobody here has been told",
    "chore.run": "a periodic chore is about to be done, begun in this worker's name",
    "workflow.before_step": "a step's function is about to be called",
    "workflow.after_step": "a step's function has returned, and its result isn't recorded",
    "workflow.before_record": "results of steps have been collected and aren't sent",
    "workflow.after_record": "results of steps are committed, and their runs haven't been told",
    "workflow.after_spawn": "a child workflow is started and committed, and its parent hasn't noted it",
    "workflow.before_commit": "a workflow's transaction holds its writes and their record, uncommitted",
    "workflow.after_commit": "both are committed, and this process hasn't noted it",
    "drain.given_back": "what hadn't started is on its way back, not yet committed",
    "drain.settled": "everything is settled, and the worker hasn't signed off",
    "gather.before": "callers' jobs have been gathered and aren't sent",
    "gather.after": "gathered jobs are committed, and their callers haven't been told",
}
"""Every fault point, and what is so when it is passed."""

FAILING = ("claim.before", "claim.after", "settle.before_flush", "settle.after_flush", "rescue.before", "rescue.after",
           "promote.before", "promote.after", "bury.after")  # fmt: skip
"""Points where an error of the database may be raised: the code around them answers it."""


def _transient(name: str) -> None:
    raise TransientError(f"the fault point {name} is armed", sqlstate="40001")


def _lost(name: str) -> None:
    raise ConnectionLost(f"the fault point {name} is armed")


_ACTS: Mapping[str, Callable[[str], None]] = {
    "kill": lambda name: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda name: os.kill(os.getpid(), signal.SIGSTOP),
    "raise": _transient,
    "lose": _lost,
}

armed: dict[str, tuple[int, Callable[[str], None]]] = {}
"""What is armed, by the point's name: at which passing, and what happens then. A hot place asks this itself."""

_passed: Counter[str] = Counter()


def arm(text: str) -> None:
    """Arm what PERDURE_FAULT says. Raises ConfigError for a point or an act that doesn't exist."""
    for each in filter(None, text.split(",")):
        place, _, act = each.partition(":")
        name, _, nth = place.partition("@")
        if name not in POINTS:
            raise ConfigError(f"{name!r} is no fault point", field="PERDURE_FAULT", fix=f"use {', '.join(POINTS)}")
        if not (nth or "1").isdigit():
            raise ConfigError(f"{nth!r} is no number of a passing", field="PERDURE_FAULT", fix="say 3 for the third")
        armed[name] = int(nth or 1), _act(name, act)


def _act(name: str, act: str) -> Callable[[str], None]:
    word, _, seconds = act.partition("=")
    if word == "pause" and seconds.replace(".", "", 1).isdigit():
        return lambda name: time.sleep(float(seconds))
    if act not in _ACTS or (act in ("raise", "lose") and name not in FAILING):
        fix = "use kill, stop or pause=SECONDS"
        raise ConfigError(f"{act!r} can't happen at {name}", field="PERDURE_FAULT", fix=fix)
    return _ACTS[act]


def keep_childs() -> None:
    """Disarm in a child what is its worker's: a suspect that a child dies under three times is dead."""
    for name in [each for each in armed if not each.startswith("child.")]:
        del armed[name]


def point(name: str) -> None:
    """A place where a test may do something to this process."""
    if armed and name in armed:
        _passed[name] += 1
        nth, act = armed[name]
        if _passed[name] == nth:
            act(name)


arm(os.environ.get("PERDURE_FAULT", ""))
