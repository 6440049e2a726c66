-- Does: the jobs of runs that say this of themselves, the newest first, below a cursor; of one workflow, or of all.
-- Locks: none.
-- Index: run_attributes.
-- Bound: the runs that say it, which are sorted; `limit` of them are returned. In one query it would be taken for cheaper to pass over all runs in order until enough are found.
with saying as materialized (
    select r.job, r.name from perdure.run r
    where r.attributes is not null and r.attributes::jsonb @> %(attributes)s::text::jsonb
)
select s.job from saying s
where s.job < coalesce(%(cursor)s::bigint, 9223372036854775807)
  and coalesce(s.name = %(name)s::text, %(name)s::text is null)
order by s.job desc limit %(limit)s::int
