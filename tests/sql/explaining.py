"""What tests of plans share: an op's calls recorded, a call explained, and scans that nothing narrows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

import psycopg

from perdure.core.op import Call, Op, Row
from perdure.pg.link import PLANS
from perdure.sql import numbered

R = TypeVar("R")

CALLERS_HAVE = dict.fromkeys(PLANS, "on") | {
    "enable_seqscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Postgres' own settings, as callers' sessions have them, but with a generic plan that reads no table as a whole."""

STILL = """
do $$ declare each regclass; begin
    for each in select oid from pg_class where relnamespace = 'perdure'::regnamespace and relkind = 'r' loop
        execute format('alter table %s set (autovacuum_enabled = false)', each);
    end loop;
end $$
"""
"""Nobody analyses a table behind the test's back, some before a statement is planned and some after."""


def recorded(op: Op[R], calls: dict[str, Call]) -> Op[R]:
    """The op, its first call of each statement noted."""
    try:
        call = next(op)
        while True:
            calls.setdefault(call.statement.name, call)
            found: Sequence[Row] = yield call
            call = op.send(found)
    except StopIteration as done:
        result: R = done.value
        return result


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes."""
    yield node
    for inner in node.get("Plans", ()):
        yield from nodes(inner)


def explained(conn: psycopg.Connection[Any], call: Call) -> dict[str, Any]:
    """The plan of the statement as a worker's driver prepares it, carried out."""
    text, names = numbered(call.statement, "perdure")
    conn.execute(f"prepare said as {text}".encode(), prepare=False)
    values = ", ".join(["%s"] * len(names))
    say = f"explain (analyze, buffers, format json) execute said{f'({values})' if names else ''}"
    with psycopg.ClientCursor(conn) as cursor:
        found = cursor.execute(say.encode(), [call.params[name] for name in names]).fetchone()
        cursor.execute("deallocate said")
    assert found is not None
    plan: dict[str, Any] = found[0][0]
    return plan


def walks(node: dict[str, Any], large: Collection[str], limited: bool = False) -> Iterator[str]:
    """Scans of a large table that nothing narrows: a sequential one, or an index read from its beginning."""
    table = node.get("Relation Name", "")
    if table.split("_")[0] in large and "Scan" in node["Node Type"]:
        narrowed = "Index Cond" in node or "TID Cond" in node or node["Node Type"] == "Bitmap Heap Scan" or limited
        if node["Node Type"] == "Seq Scan" or not narrowed:
            yield f"{node['Node Type']} on {table}"
    for inner in node.get("Plans", ()):
        yield from walks(inner, large, limited or node["Node Type"] == "Limit")
