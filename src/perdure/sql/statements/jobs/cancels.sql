-- Does: the cancel requests whose job stands, or should by now stand, outside a lease, or has ended: work for the sweep.
-- Locks: none.
-- Index: whole of cancel_request, which is small; job by id; each place by its key.
-- Bound: `limit` rows.
select c.id, c.reason, j.id is null as ended
from perdure.cancel_request c
left join perdure.job j on j.id = c.id
where j.id is null
   or exists (select from perdure.ready r where r.lane = j.lane and r.pos = j.pos)
   or exists (select from perdure.scheduled s where s.run_at = j.run_at and s.id = j.id)
   or exists (select from perdure.held h where h.id = j.id)
   or exists (select from perdure.dead d where d.id = j.id)
order by c.id limit %(limit)s::int
