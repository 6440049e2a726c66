-- Does: how many dead jobs a filter chooses, of how many in all, and the server's clock, so that an act takes none that dies meanwhile.
-- Locks: none.
-- Index: dead whole; job by id.
-- Bound: the dead.
select count(*) filter (where
           coalesce(d.died_at < %(before)s::timestamptz, true) and coalesce(d.died_at >= %(since)s::timestamptz, true)
           and coalesce(j.lane / 4096 = (select q.id from perdure.queue q where q.name = %(queue)s::text), %(queue)s::text is null)
           and coalesce(j.task = %(task)s::text, true) and coalesce(d.reason = %(reason)s::text, true)
           and coalesce(%(tag)s::text = any(j.tags), %(tag)s::text is null)
           and coalesce(position(%(error)s::text in d.error) > 0, %(error)s::text is null)) as chosen,
       count(*) as of, clock_timestamp() as clock
from perdure.dead d cross join lateral (select x.* from perdure.job x where x.id = d.id limit 1) j
