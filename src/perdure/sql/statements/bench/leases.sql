-- Does: which lease, and so which claim, each of these finished jobs was in.
-- Locks: none.
-- Index: history by id.
-- Bound: the ids given.
select id, lease from perdure.history where id = any(%(ids)s::bigint[])
