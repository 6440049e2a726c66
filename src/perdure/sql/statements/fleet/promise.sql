-- Does: notes how many of a worker's handlers may have returned without their jobs being settled; null for any number.
-- Locks: the worker's row (no key update, so claims in flight don't wait for it).
-- Index: worker by id.
-- Bound: one row.
update perdure.worker set unsettled = %(unsettled)s::int where id = %(worker)s::int returning id
