-- Does: the runs that live, in the order of their jobs, with their arguments.
-- Locks: none.
-- Index: run by job; job and dead by id.
-- Bound: `limit` runs, after a job.
select r.job, r.id, r.name, r.version, j.payload::text as input
from perdure.run r join perdure.job j on j.id = r.job
where r.job > %(after)s::bigint and not exists (select from perdure.dead d where d.id = r.job)
  and (%(name)s::text is null or r.name = %(name)s::text)
order by r.job limit %(limit)s::int
