"""``perdure worker``: run an app's jobs in this process, or in several that it keeps alive."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Annotated, Any

import typer

from ..admin.metrics import System
from ..app.leaving import STOP_GRACE_SECONDS
from ..app.loading import load_app
from ..app.logs import FORMAT, JobFields
from ..app.worker import SLOTS_DEFAULT, Worker
from ..core import check, limits
from ..core.errors import InvalidOption
from ..fleet.loops import monitor
from ..pg.url import direct
from ..runtime import collector, parent
from .database import opened
from .options import LOOP_SECONDS, AppPath, Schema, Url
from .supervisor import Supervisor

try:
    import uvloop
except ImportError:  # an optional extra: the standard loop does as well, at two thirds of the speed
    uvloop = None  # type: ignore[assignment]

SLOTS_MAX = 10_000
SIGN_OFF_SECONDS = 20.0
"""What settling and signing off may take after the drain's deadline, before the process is ended the hard way."""
HURRIED_SECONDS = STOP_GRACE_SECONDS + 5.0
"""The same after a second signal."""

command = typer.Typer(add_completion=False)


@command.command()
def worker(
    app: AppPath,
    queues: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:SLOTS,…",
            help=f"Which queues, and how many jobs of each run at a time ({SLOTS_DEFAULT} where that isn't said). "
            "Otherwise every queue the app's tasks name.",
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Worker processes to keep running.")] = 1,
    drain_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long running jobs may go on after SIGTERM.")
    ] = limits.DRAIN_SECONDS,
    name: Annotated[str | None, typer.Option(help="What others know it by; otherwise host:pid.")] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_000, help="Answer scrapes of Prometheus on this port of 127.0.0.1; 0 takes a free one."
        ),
    ] = None,
    history_days: Annotated[
        int, typer.Option(min=1, max=limits.HISTORY_DAYS_MAX, help="How long finished jobs are kept.")
    ] = limits.HISTORY_DAYS,
    no_listen: Annotated[bool, typer.Option("--no-listen", help="Poll, and open no session that is notified.")] = False,
    no_housekeeping: Annotated[
        bool,
        typer.Option("--no-housekeeping", help="Leave to other workers what no job waits for: partitions, retention."),
    ] = False,
    url: Url = None,
    schema: Schema = "perdure",
) -> None:
    """Run an app's jobs until told to stop.

    SIGTERM or Ctrl-C drains: nothing more is claimed, what runs is finished, the rest is given back. A second one means
    now. The exit code is 0 when everything ended by itself, 1 when something had to be stopped.
    """
    called = name or f"{socket.gethostname()}:{os.getpid()}"
    _prepare(called)
    slots = None if queues is None else parse_queues(queues)
    if not math.isfinite(drain_timeout):
        raise InvalidOption(f"{drain_timeout} isn't a number of seconds", field="--drain-timeout", fix="give a number")
    loaded = load_app(app)
    with opened(url, schema, wait=None) as database:
        address = database.url
    if processes > 1:
        arguments = ["worker", app, "--drain-timeout", str(drain_timeout), "--schema", schema]
        arguments += ["--history-days", str(history_days)]
        if queues is not None:
            arguments += ["--queues", queues]
        arguments += ["--no-listen"] * no_listen + ["--no-housekeeping"] * no_housekeeping
        code = asyncio.run(Supervisor(arguments, {"DATABASE_URL": address}, processes, name, metrics_port).run())
        raise typer.Exit(code)
    switches: dict[str, Any] = {"listen": not no_listen, "housekeeping": not no_housekeeping}
    bounds: dict[str, Any] = {"queues": slots, "drain_seconds": drain_timeout, "history_days": history_days}
    make = partial(Worker, loaded, address, schema=schema, name=called, direct_url=direct(), **bounds, **switches)
    work(make, System(address, schema), drain_timeout, metrics_port)


def _prepare(called: str) -> None:
    """Be a process that can be told to stop, and whose log lines name the worker and the job they are about."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: sys.exit(0))  # nothing has begun that would have to be ended
    parent.follow()
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    fields = JobFields(called)
    for handler in logging.getLogger().handlers:
        handler.addFilter(fields)


def parse_queues(text: str) -> dict[str, int]:
    """``mail:10,default`` as slots by queue name. Raises InvalidOption, naming the part that can't be read."""
    found: dict[str, int] = {}
    for part in text.split(","):
        queue, colon, slots = part.strip().rpartition(":")
        if not colon:
            queue, slots = slots, str(SLOTS_DEFAULT)
        if not (slots.isascii() and slots.isdigit() and 1 <= int(slots) <= SLOTS_MAX):
            raise InvalidOption(
                f"{part.strip()!r} has no number of slots from 1 to {SLOTS_MAX:,}",
                field="--queues",
                fix="write it as mail:10,default:50",
            )
        check.name("--queues", queue, limits.QUEUE_NAME_CHARS_MAX)
        if queue in found:
            raise InvalidOption(f"{queue!r} is named twice", field="--queues", fix="name each queue once")
        found[queue] = int(slots)
    return found


def work(make: Callable[[], Worker], system: System, drain_seconds: float, metrics_port: int | None = None) -> None:
    """Work in this process until told to stop; ends the process with 1 when running jobs had to be stopped."""
    collector.spare()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop is not None else None) as runner:
        clean = runner.run(_work(make, system, drain_seconds, metrics_port))
        faulthandler.cancel_dump_traceback_later()
        if not clean:
            # Threads that ignored the stop would hold up the interpreter's own end for as long as they like.
            logging.shutdown()
            sys.stderr.flush()
            os._exit(1)


def _seconds(text: str) -> float:
    try:
        return check.seconds(LOOP_SECONDS, float(text))
    except ValueError:
        raise InvalidOption(f"{text!r} is no number", field=LOOP_SECONDS, fix="give seconds, as 0.25") from None


async def _work(make: Callable[[], Worker], system: System, drain_seconds: float, metrics_port: int | None) -> bool:
    loop = asyncio.get_running_loop()
    if (busy := os.environ.get(LOOP_SECONDS)) is not None:
        monitor.watch(_seconds(busy))
    worker = make()
    if metrics_port is not None:
        from ..contrib import prometheus  # an optional extra

        scraped = prometheus.serve(metrics_port, worker.samples, system)
        logging.getLogger("perdure.worker").info("metrics are at http://127.0.0.1:%d/metrics", scraped.server_port)
    asked = 0

    def stop(number: int, frame: FrameType | None) -> None:
        """Told to stop. A handler of the signal module runs even while a job keeps the loop busy."""
        nonlocal asked
        if asked and parent.gone():
            return  # the same death, noticed in two ways
        asked += 1
        # A thread of its own, in C: it ends the process, showing every stack, when the loop never hears of the stop.
        patience = drain_seconds + SIGN_OFF_SECONDS if asked == 1 else HURRIED_SECONDS
        faulthandler.dump_traceback_later(patience, exit=True)
        loop.call_soon_threadsafe(worker.stop)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    parent.watch(loop, lambda: stop(signal.SIGTERM, None))
    return await worker.run()
