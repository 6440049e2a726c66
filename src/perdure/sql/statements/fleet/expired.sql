-- Does: locks one worker against its claims, if its beat has run out: it waits for a claim in flight, and no claim follows it.
-- Locks: the worker's row for update, held to the commit.
-- Index: worker by id.
-- Bound: one row.
select id from perdure.worker
where id = %(worker)s::int and state in ('alive', 'draining') and expires_at < clock_timestamp()
for update
