-- Does: the pauses for which there is something to do: their job waits for its turn, is to go on, or has ended.
-- Locks: none.
-- Index: whole of pause, which is small; job by id; each place by its key.
-- Bound: `limit` rows.
select p.id, p.resumed, j.id is null or d.id is not null as ended
from perdure.pause p
left join lateral (select x.id, x.lane, x.pos, x.run_at from perdure.job x where x.id = p.id limit 1) j on true
left join lateral (select x.id from perdure.dead x where x.id = p.id limit 1) d on true
where j.id is null or d.id is not null
   or exists (select from perdure.ready y where y.lane = j.lane and y.pos = j.pos offset 0)
   or exists (select from perdure.scheduled s where s.run_at = j.run_at and s.id = j.id offset 0)
   or (p.resumed and exists (select from perdure.held h where h.id = j.id offset 0))
order by p.id limit %(limit)s::int
