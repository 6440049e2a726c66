-- Which runs go no further until somebody acts, because their code doesn't fit them or they couldn't be undone?
-- Reads: the parked jobs that are runs, and the runs that have failed, with their jobs among the dead; 100 of each at most.
-- Then: mended code and perdure workflows resume ID for a parked one; retry or skip for one that couldn't be undone. See perdure timeline ID.
(select 'compensation_failed' as state, r.id, r.name as workflow, r.version, r.job, r.failed_step, d.died_at as since, d.error as told
 from perdure.run r join perdure.dead d on d.id = r.job
 where r.ended_at is not null and r.completed is not true and d.reason = 'compensation_failed' order by r.job desc limit 100)
union all
(select 'parked', r.id, r.name, r.version, r.job, null, h.held_at, coalesce(r.trouble, h.reason)
 from perdure.held h join perdure.run r on r.job = h.id
 where r.paused_at is null order by h.id desc limit 100);
