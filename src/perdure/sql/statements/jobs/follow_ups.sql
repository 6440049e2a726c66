-- Does: what is to be enqueued because these jobs have ended so, locked against whoever else may fire it.
-- Locks: the follow_up rows, in ascending job and number.
-- Index: follow_up by job; dead by id.
-- Bound: the ids given.
select f.job, f.number, f.spec::text as spec
from unnest(%(jobs)s::bigint[], %(causes)s::text[]) as t(job, cause)
join perdure.follow_up f on f.job = t.job and f.cause = t.cause
where f.job = any(%(jobs)s::bigint[]) and f.problem is null
  and (f.cause <> 'death' or exists (select from perdure.dead d where d.id = f.job offset 0))
order by f.job, f.number for update of f
