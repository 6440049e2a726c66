-- Which jobs are held by workers that nobody may trust any more?
-- Reads: the leases of workers that aren't alive, or whose beat has run out; their jobs by id.
-- Then: any living worker takes them back within seconds, uncharged. If they stay, none lives: start one.
select l.id as lease, l.claimed_at, l.worker, coalesce(w.name, 'forgotten') as name, coalesce(w.state, 'forgotten') as state,
       extract(epoch from clock_timestamp() - w.expires_at)::float8 as silent_seconds,
       j.id, j.task, j.key, j.attempt, j.rescues
from perdure.lease l
left join perdure.worker w on w.id = l.worker
cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
join perdure.job j on j.id = t.id and j.generation = t.generation
where w.id is null or w.state not in ('alive', 'draining') or w.expires_at < clock_timestamp()
order by l.id, j.id limit 500;
