-- Does: locks the job of a run that isn't being run now; none when it is, or has ended.
-- Locks: the job's row for update.
-- Index: job, dead, held and waiting by id; ready (lane, pos).
-- Bound: one job.
select j.id,
       case when exists (select from perdure.dead d where d.id = j.id) then 'dead'
            when exists (select from perdure.held h where h.id = j.id) then 'held'
            when exists (select from perdure.waiting w where w.id = j.id) then 'waiting'
            when exists (select from perdure.ready r where r.lane = j.lane and r.pos = j.pos) then 'ready'
            else 'leased' end as place
from perdure.job j where j.id = %(run)s::bigint
for update of j
