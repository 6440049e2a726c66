-- Does: jobs newest first below a cursor, of one queue, place, task, tag or all.
-- Locks: none.
-- Index: job and history by id, backwards.
-- Bound: `limit` rows.
select id, task, queue, key, place, reason, outcome, priority, attempt, rescues, generation, created_at, run_at, expires_at,
       started_at, finished_at, tags, options::text, error, payload::text, result::text
from perdure.jobs
where id < coalesce(%(cursor)s::bigint, 9223372036854775807)
  and (%(queue)s::text is null or queue = %(queue)s::text)
  and (%(place)s::text is null or place = %(place)s::text)
  and (%(task)s::text is null or task = %(task)s::text)
  and (%(tag)s::text is null or %(tag)s::text = any(tags))
order by id desc limit %(limit)s::int
