-- Does: the jobs of runs that live and are paused, the newest first, below a cursor.
-- Locks: none.
-- Index: run_paused, backwards; job and dead by id.
-- Bound: `limit` runs, and those that the filters pass over.
select r.job from perdure.run r
where r.paused_at is not null
  and (select true from perdure.job j where j.id = r.job)
  and (select true from perdure.dead d where d.id = r.job) is null
  and r.job < coalesce(%(cursor)s::bigint, 9223372036854775807)
  and coalesce(r.name = %(name)s::text, %(name)s::text is null)
  and coalesce(r.attributes::jsonb @> %(attributes)s::text::jsonb, %(attributes)s::text is null)
order by r.job desc limit %(limit)s::int
