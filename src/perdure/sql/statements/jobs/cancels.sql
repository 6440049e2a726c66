-- Does: the cancel requests whose job stands, or should by now stand, outside a lease, or has ended: work for the sweep. A workflow's run is only woken, once, where it waits: it deals with the request itself.
-- Locks: none.
-- Index: whole of cancel_request, which is small; job by id; each place by its key.
-- Bound: `limit` rows.
select c.id, c.reason, j.id is null as ended, w.id is not null and r.job is not null as waits
from perdure.cancel_request c
left join perdure.job j on j.id = c.id
left join perdure.waiting w on w.id = j.id
left join perdure.run r on r.job = j.id
where j.id is null or exists (select from perdure.dead d where d.id = j.id)
   or (r.job is not null and w.id is not null and not exists (select from perdure.step s where s.run = j.id and s.name = 'cancel'))
   or (r.job is null
       and (w.id is not null
            or exists (select from perdure.ready y where y.lane = j.lane and y.pos = j.pos)
            or exists (select from perdure.scheduled s where s.run_at = j.run_at and s.id = j.id)
            or exists (select from perdure.held h where h.id = j.id)))
order by c.id limit %(limit)s::int
