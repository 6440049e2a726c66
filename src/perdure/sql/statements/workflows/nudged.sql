-- Does: the nudged runs that wait, to be woken; those that were resumed while they were being parked, and those that are parked and have been asked to end; and those that have ended, to be forgotten.
-- Locks: none.
-- Index: whole of nudge, which is small; waiting, held, cancel_request, job and run by id.
-- Bound: `limit` rows.
select n.id, case when w.id is not null then 'waiting' when h.id is not null then 'held' else 'ended' end as state
from perdure.nudge n
left join lateral (select x.id from perdure.waiting x where x.id = n.id limit 1) w on true
left join lateral (select x.id from perdure.held x where x.id = n.id and (x.reason = 'paused' or exists (select from perdure.cancel_request c where c.id = x.id offset 0)) limit 1) h
     on (select r.paused_at is null from perdure.run r where r.job = n.id)
where w.id is not null or h.id is not null or not exists (select from perdure.job j where j.id = n.id offset 0)
order by n.id limit %(limit)s::int
