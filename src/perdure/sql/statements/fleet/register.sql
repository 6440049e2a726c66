-- Does: gives a new worker its row, alive from now.
-- Locks: none.
-- Index: none.
-- Bound: one row.
insert into perdure.worker (name, host, pid, slots, queues, workflows, unsettled, expires_at)
values (%(name)s::text, %(host)s::text, %(pid)s::int, %(slots)s::int, %(queues)s::text[], %(workflows)s::text[], %(unsettled)s::int,
        clock_timestamp() + %(dead_seconds)s::float8 * interval '1 second')
returning id, incarnation
