-- Does: the jobs of runs, by the ids that callers name them by, and whether each has ended.
-- Locks: none.
-- Index: run_id; job by id.
-- Bound: the ids given.
select r.id, r.job, r.paused_at is not null as paused,
       not exists (select from perdure.job j where j.id = r.job) as ended,
       exists (select from perdure.dead d where d.id = r.job) as dead
from perdure.run r
where r.id = any(%(ids)s::text[]) and not r.superseded
order by r.id
