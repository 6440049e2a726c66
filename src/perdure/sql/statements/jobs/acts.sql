-- Does: what operators have done to many jobs at once, the latest first.
-- Locks: none.
-- Index: act by id, backwards.
-- Bound: `limit` rows.
select id, at, by, act, filter::text as filter, reason, jobs, first_id, last_id from perdure.act order by id desc limit %(limit)s::int
