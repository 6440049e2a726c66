-- Does: whether there is, or was lately, such a worker.
-- Locks: none.
-- Index: worker by id.
-- Bound: one row.
select w.id from perdure.worker w where w.id = %(worker)s::int
