-- Does: the cancel requests whose job stands, or should by now stand, outside a lease, or has ended: work for the sweep. A workflow's run is only woken, once, where it waits: it deals with the request itself.
-- Locks: none.
-- Index: whole of cancel_request, which is small; job by id; each place by its key.
-- Bound: `limit` rows.
select c.id, c.reason, j.id is null as ended, w.id is not null and r.job is not null as waits
from perdure.cancel_request c
left join lateral (select x.id, x.lane, x.pos, x.run_at from perdure.job x where x.id = c.id limit 1) j on true
left join lateral (select x.id from perdure.waiting x where x.id = c.id limit 1) w on j.id is not null
left join lateral (select x.job from perdure.run x where x.job = c.id limit 1) r on j.id is not null
where j.id is null or exists (select from perdure.dead d where d.id = j.id offset 0)
   or (r.job is not null and w.id is not null and not exists (select from perdure.step s where s.run = j.id and s.name = 'cancel' offset 0))
   or (r.job is null
       and (w.id is not null
            or exists (select from perdure.ready y where y.lane = j.lane and y.pos = j.pos offset 0)
            or exists (select from perdure.scheduled s where s.run_at = j.run_at and s.id = j.id offset 0)
            or exists (select from perdure.held h where h.id = j.id offset 0)))
order by c.id limit %(limit)s::int
