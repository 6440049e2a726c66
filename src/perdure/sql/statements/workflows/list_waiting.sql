-- Does: the jobs of runs that wait and aren't paused, the newest first, below a cursor.
-- Locks: none.
-- Index: waiting by id, backwards; run by job, one look for each: a join would be sorted.
-- Bound: `limit` runs, and those that the filters pass over.
select w.id as job from perdure.waiting w
where w.id < coalesce(%(cursor)s::bigint, 9223372036854775807)
  and (select r.paused_at is null
              and coalesce(r.name = %(name)s::text, %(name)s::text is null)
              and coalesce(r.attributes::jsonb @> %(attributes)s::text::jsonb, %(attributes)s::text is null)
       from perdure.run r where r.job = w.id)
order by w.id desc limit %(limit)s::int
