-- Does: asks the children of runs that haven't completed to end, where they end with their parent; which they are.
-- Locks: the requests' rows.
-- Index: run_parent; job, dead and cancel_request by id.
-- Bound: the children of the ids given that haven't been asked yet, run_tree_max at a time.
with children as materialized (
    select c.job from perdure.run c where c.parent = any(%(ids)s::bigint[]) and c.close = 'cancel'
)
insert into perdure.cancel_request (id, reason)
select c.job, 'the run that started it has ended' from children c
where exists (select from perdure.job j where j.id = c.job) and not exists (select from perdure.dead d where d.id = c.job)
  and not exists (select from perdure.cancel_request q where q.id = c.job)
order by c.job limit %(limit)s::int
on conflict (id) do nothing
returning id
