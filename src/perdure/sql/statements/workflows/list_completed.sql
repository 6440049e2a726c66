-- Does: the jobs of runs that have completed and whose result is kept, the newest first, below a cursor.
-- Locks: none.
-- Index: run_completed, backwards; history by id.
-- Bound: `limit` runs, and those that the filters pass over.
select r.job from perdure.run r
where r.ended_at is not null and r.completed is not false
  and 'completed' = coalesce((select h.outcome from perdure.history h where h.id = r.job order by h.finished_at desc limit 1), r.told ->> 0)
  and r.job < coalesce(%(cursor)s::bigint, 9223372036854775807)
  and coalesce(r.name = %(name)s::text, %(name)s::text is null)
  and coalesce(r.attributes::jsonb @> %(attributes)s::text::jsonb, %(attributes)s::text is null)
order by r.job desc limit %(limit)s::int
