-- Does: the jobs of runs, the newest first, below a cursor; of one workflow, or of all.
-- Locks: none.
-- Index: run by job, backwards.
-- Bound: `limit` runs, and those that the filters pass over.
select r.job from perdure.run r
where r.job < coalesce(%(cursor)s::bigint, 9223372036854775807)
  and coalesce(r.name = %(name)s::text, %(name)s::text is null)
order by r.job desc limit %(limit)s::int
