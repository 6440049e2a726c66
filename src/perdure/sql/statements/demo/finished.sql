-- Does: the next finished jobs by id, with what went in and what came out.
-- Locks: none.
-- Index: history by id.
-- Bound: `limit` rows.
select id, key, outcome, attempt, rescues, payload::text as payload, result::text as result from perdure.history
where id > %(after)s::bigint order by id limit %(limit)s::int
