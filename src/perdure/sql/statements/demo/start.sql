-- Does: notes that a handler has started.
-- Locks: the new row.
-- Index: none.
-- Bound: one row.
insert into perdure.demo_run (order_id, job, generation, pid)
values (%(order_id)s::bigint, %(job)s::bigint, %(generation)s::int, %(pid)s::int)
