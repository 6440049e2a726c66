-- Does: the floor's half of an enqueue: plain rows of the same payload.
-- Locks: row exclusive on floor.
-- Index: floor by id.
-- Bound: the rows given.
insert into perdure.floor (id, payload)
select id, payload::json from unnest(%(ids)s::bigint[], %(payloads)s::text[]) as t(id, payload)
