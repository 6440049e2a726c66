"""The heart: one beat per worker, from a thread and a connection of its own, so that a busy loop loses no lease.

The trust window is measured on this process's monotonic clock from the *sending* of the last good beat: the row's
expiry was set later than that, so this worker stops trusting itself before others may take it for dead.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import psycopg

from ...core import limits
from ...core.errors import DatabaseError
from ...pg.connect import for_psycopg, pooled
from ...pg.drive import drive
from ...pg.errors import translate
from ...runtime.clock import monotonic
from ..model import Beat
from ..ops import workers
from .monitor import Monitor

log = logging.getLogger("perdure.heart")


class Heart:
    """Beats for one worker until stopped.

    ``on_beat`` is called on the heart's own thread with the worker and each good beat, and with None once that worker
    is found dead; it must only hand over. ``gauges`` gives what the beat stores, as JSON text, ``leases`` what the
    worker has in its hands. ``pooled``: the URL leads to a pooler. ``who``: the worker, for the session's name.
    """

    def __init__(
        self,
        url: str,
        schema: str,
        *,
        on_beat: Callable[[int, Beat | None], None],
        gauges: Callable[[], str | None],
        leases: Callable[[], Sequence[int]] = tuple,
        pooled: bool = False,
        who: str = "",
    ) -> None:
        self._url, self._schema, self._on_beat, self._gauges, self._leases = url, schema, on_beat, gauges, leases
        self._pooled, self._who = pooled, who
        self._lock = threading.Lock()  # a worker and its trust change together
        self._worker = 0
        self._conn: psycopg.Connection[object] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failed = 0
        self.trusted_until = 0.0
        """Monotonic seconds up to which this worker may start jobs."""

    def start(self, worker: int, sent: float) -> None:
        """Beat for this worker, whose row was registered by a statement sent at ``sent`` (monotonic seconds).

        Call it on the loop's thread: the heart keeps an eye on the loop, too.
        """
        with self._lock:
            self._worker, self.trusted_until = worker, sent + limits.TRUST_SECONDS
        if self._thread is None:
            self._monitor = Monitor()
            self._thread = threading.Thread(target=self._run, name="perdure-heart", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop beating; safe to call twice, or before the start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None

    def _run(self) -> None:
        due = monotonic()  # at once, so that the heart has its connection before any handler takes one
        while not self._stop.wait(max(due - monotonic(), 0.0)):
            self._monitor.check()
            due = max(due + limits.BEAT_SECONDS, monotonic() + limits.BEAT_SECONDS / 2)
            try:
                self._beat()
            except DatabaseError as error:
                log.warning("a heartbeat failed, trying again: %s", error)
                self.failed += 1
                self._drop()
                due = monotonic() + limits.BEAT_SECONDS / 4
        self._drop()

    def _beat(self) -> None:
        worker, sent = self._worker, monotonic()
        beat = drive(self._connected(), workers.beat(worker, self._gauges(), self._leases()), self._schema)
        with self._lock:
            if worker != self._worker:
                return
            self.trusted_until = sent + limits.TRUST_SECONDS if beat is not None else 0.0
        self._on_beat(worker, beat)

    def _connected(self) -> psycopg.Connection[object]:
        if self._conn is None or self._conn.closed:
            try:
                if self._pooled:
                    self._conn = pooled(self._url, "beat", who=self._who)
                else:
                    self._conn = psycopg.connect(**for_psycopg(self._url, "beat", who=self._who), autocommit=True)
            except psycopg.Error as error:
                ours = translate(error)
                assert ours is not None
                raise ours from error
        return self._conn

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None
