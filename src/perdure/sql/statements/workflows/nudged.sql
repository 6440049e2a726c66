-- Does: the nudged runs that wait, to be woken; and those that have ended, to be forgotten.
-- Locks: none.
-- Index: whole of nudge, which is small; waiting, job and run by id.
-- Bound: `limit` rows.
select n.id, w.id is not null as waits
from perdure.nudge n
left join perdure.waiting w on w.id = n.id
where w.id is not null or not exists (select from perdure.job j where j.id = n.id)
order by n.id limit %(limit)s::int
