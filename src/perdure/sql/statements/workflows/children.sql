-- Does: those of the runs that are a run's own children, are over and haven't completed; why, when they are dead, and where they failed.
-- Locks: none.
-- Index: run, job and dead by job; history by id.
-- Bound: the ids given.
select r.job, d.reason, r.failed_step from perdure.run r
left join lateral (select x.id, x.reason from perdure.dead x where x.id = r.job limit 1) d on true
where r.job = any(%(ids)s::bigint[]) and r.parent = %(parent)s::bigint and not r.superseded and r.completed is not true
  and (d.id is not null
       or (not exists (select from perdure.job j where j.id = r.job offset 0)
           and not exists (select from perdure.history h where h.id = r.job and h.outcome = 'completed' offset 0)))
order by r.job
