-- Does: the children of runs that haven't completed that end with their parent, and haven't been asked to.
-- Locks: none.
-- Index: run_parent; job, dead and cancel_request by id; whole of plea, which is small.
-- Bound: the children of the ids given, run_tree_max at a time.
with children as materialized (
    select c.job from perdure.run c where c.parent = any(%(ids)s::bigint[]) and c.close = 'cancel'
)
select c.job from children c
where exists (select from perdure.job j where j.id = c.job offset 0) and not exists (select from perdure.dead d where d.id = c.job offset 0)
  and not exists (select from perdure.cancel_request q where q.id = c.job offset 0)
  and not exists (select from perdure.plea p where p.id = c.job)
order by c.job limit %(limit)s::int
