-- Does: the ids of dead jobs that a filter chooses, in ascending order above a cursor.
-- Locks: none.
-- Index: dead and job by id.
-- Bound: `limit` rows, and those that the filter passes over.
select d.id
from perdure.dead d cross join lateral (select x.* from perdure.job x where x.id = d.id limit 1) j
where d.id > %(after)s::bigint
  and coalesce(d.died_at < %(before)s::timestamptz, true) and coalesce(d.died_at >= %(since)s::timestamptz, true)
  and coalesce(j.lane / 4096 = (select q.id from perdure.queue q where q.name = %(queue)s::text), %(queue)s::text is null)
  and coalesce(j.task = %(task)s::text, true) and coalesce(d.reason = %(reason)s::text, true)
  and coalesce(%(tag)s::text = any(j.tags), %(tag)s::text is null)
  and coalesce(position(%(error)s::text in d.error) > 0, %(error)s::text is null)
order by d.id limit %(limit)s::int
