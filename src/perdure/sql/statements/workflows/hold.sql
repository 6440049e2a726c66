-- Does: the job of a run, held against its going to wait while its inbox is being written; and whether it has ended.
-- Locks: the run's row for key share: a run that is going to wait sees it, and doesn't wait for long.
-- Index: run_id; job and dead by id.
-- Bound: one run.
select r.job, not exists (select from perdure.job j where j.id = r.job) as ended,
       exists (select from perdure.dead d where d.id = r.job) as dead
from perdure.run r where r.id = %(id)s::text and not r.superseded
for key share of r
