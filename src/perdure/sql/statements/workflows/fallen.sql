-- Does: which of these runs have given up.
-- Locks: none.
-- Index: dead by id.
-- Bound: the ids given.
select d.id from perdure.dead d where d.id = any(%(ids)s::bigint[]) order by d.id
