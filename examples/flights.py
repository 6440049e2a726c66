"""A long import that loses seconds, not hours: every flight of a year into Postgres, each exactly once.

The rows and the position after them are one commit. Whoever runs the job next, after a kill -9, a deploy or a drain,
goes on there. ``perdure worker examples.flights:app`` works on it; the flights go into the worker's own database.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from itertools import islice

from perdure import App, Context, Retry

app = App("flights")

BATCH_ROWS = 2_000
COLUMNS = ("year", "month", "day", "carrier", "flight", "origin", "dest", "dep_delay", "arr_delay", "distance")
TABLE = """
create table if not exists flight (
    line int primary key, year int, month int, day int, carrier text, flight int, origin text, dest text,
    dep_delay int, arr_delay int, distance int
)
"""


def records(archive: str) -> Iterator[dict[str, str]]:
    """The rows of the one CSV file in a zip archive, in the order of the file."""
    with zipfile.ZipFile(archive) as zipped, zipped.open(zipped.namelist()[0]) as raw:
        yield from csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8"))


@app.task(queue="imports", retry=Retry(max_attempts=3), timeout=3 * 3600)
def import_flights(ctx: Context, archive: str, total: int) -> int:
    """Import what no run of this job has imported yet; how many flights there are in all."""
    line: int = ctx.restored or 0
    rows = islice(records(archive), line, None)
    while batch := list(islice(rows, BATCH_ROWS)):
        ctx.raise_if_cancelled()  # drained, cancelled, out of time: what is committed stays, and is not done again
        with ctx.transaction() as tx:
            with tx.connection.cursor().copy(f"copy flight (line, {', '.join(COLUMNS)}) from stdin".encode()) as copy:
                for offset, row in enumerate(batch):
                    copy.write_row([line + offset, *(row[name] if row[name] != "NA" else None for name in COLUMNS)])
            line += len(batch)
            tx.checkpoint(line)
        ctx.progress(line, total, "flights")
    return line
