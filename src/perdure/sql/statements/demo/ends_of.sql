-- Does: how these jobs ended: under which lease and generation, as which outcome, and when.
-- Locks: none.
-- Index: history by id.
-- Bound: the ids given.
select id, lease, generation, outcome, finished_at from perdure.history where id = any(%(ids)s::bigint[]) order by id
