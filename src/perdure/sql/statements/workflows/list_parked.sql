-- Does: the jobs of runs that are parked and aren't paused, the newest first, below a cursor.
-- Locks: none.
-- Index: held by id, backwards; run by job, one look for each: a join would be sorted.
-- Bound: `limit` runs, the jobs that are no runs and are parked, too, and what the filters pass over.
select h.id as job from perdure.held h
where h.id < coalesce(%(cursor)s::bigint, 9223372036854775807)
  and (select r.paused_at is null
              and coalesce(r.name = %(name)s::text, %(name)s::text is null)
              and coalesce(r.attributes::jsonb @> %(attributes)s::text::jsonb, %(attributes)s::text is null)
       from perdure.run r where r.job = h.id)
order by h.id desc limit %(limit)s::int
