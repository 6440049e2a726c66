-- Does: asks the children of runs that haven't completed to end, where they end with their parent; which they are.
-- Locks: the requests' rows.
-- Index: run_parent; job by id; cancel_request by id.
-- Bound: the children of the ids given, run_tree_max at a time.
insert into perdure.cancel_request (id, reason)
select c.job, 'the run that started it has ended' from perdure.run c
where c.parent = any(%(ids)s::bigint[]) and c.close = 'cancel'
  and exists (select from perdure.job j where j.id = c.job) and not exists (select from perdure.dead d where d.id = c.job)
order by c.job limit %(limit)s::int
on conflict (id) do nothing
returning id
