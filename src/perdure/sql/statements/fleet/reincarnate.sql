-- Does: after a broken connection, waits for this worker's own claim in flight and makes sure no other follows: the incarnation given, if it is newer.
-- Locks: the worker's row for update, held to the commit.
-- Index: worker by id.
-- Bound: one row.
with mine as materialized (
    select id from perdure.worker where id = %(worker)s::int and state in ('alive', 'draining') for update
)
update perdure.worker w set incarnation = %(incarnation)s::int
from mine where w.id = mine.id and w.incarnation < %(incarnation)s::int
returning w.incarnation
