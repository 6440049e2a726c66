-- Does: where a run's job stands, and locks it there; one that is being run isn't locked, because its worker records under that lock. None when it has ended.
-- Locks: the job's row for update, unless it is leased, or a claim came between.
-- Index: job, dead, held and waiting by id; ready (lane, pos).
-- Bound: one job.
with seen as materialized (
    select j.id, j.generation,
           case when exists (select from perdure.dead d where d.id = j.id) then 'dead'
                when exists (select from perdure.held h where h.id = j.id) then 'held'
                when exists (select from perdure.waiting w where w.id = j.id) then 'waiting'
                when exists (select from perdure.ready r where r.lane = j.lane and r.pos = j.pos) then 'ready'
                else 'leased' end as place
    from perdure.job j where j.id = %(run)s::bigint
), locked as materialized (
    select j.id from seen s join perdure.job j on j.id = s.id and j.generation = s.generation
    where j.id = %(run)s::bigint and s.place <> 'leased' for update of j
)
select case when l.id is null then 'leased' else s.place end as place
from seen s left join locked l on l.id = s.id
