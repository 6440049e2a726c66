-- Does: jobs newest first below a cursor, of one queue, place, task or all.
-- Locks: none.
-- Index: job and history by id, backwards.
-- Bound: `limit` rows.
select * from perdure.jobs
where id < coalesce(%(cursor)s::bigint, 9223372036854775807)
  and (%(queue)s::text is null or queue = %(queue)s::text)
  and (%(place)s::text is null or place = %(place)s::text)
  and (%(task)s::text is null or task = %(task)s::text)
order by id desc limit %(limit)s::int
