-- Does: the nudged runs that wait, to be woken; those that were resumed while they were being parked; and those that have ended, to be forgotten.
-- Locks: none.
-- Index: whole of nudge, which is small; waiting, held, job and run by id.
-- Bound: `limit` rows.
select n.id, case when w.id is not null then 'waiting' when h.id is not null then 'held' else 'ended' end as state
from perdure.nudge n
left join perdure.waiting w on w.id = n.id
left join perdure.held h on h.id = n.id and h.reason = 'paused'
     and (select r.paused_at is null from perdure.run r where r.job = n.id)
where w.id is not null or h.id is not null or not exists (select from perdure.job j where j.id = n.id)
order by n.id limit %(limit)s::int
