-- What is running now, on which worker, and since when?
-- Reads: the leases; their jobs by id.
-- Then: the first is the oldest. A lease lists jobs that were claimed; those that wait for their slot are among them.
select w.name as worker, w.host, w.pid, w.state, l.id as lease, l.claimed_at,
       extract(epoch from clock_timestamp() - l.claimed_at)::float8 as seconds, j.id, j.task, q.name as queue, j.key,
       j.attempt + 1 as attempt
from perdure.lease l
cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
join perdure.job j on j.id = t.id and j.generation = t.generation
join perdure.queue q on q.id = j.lane / 4096
left join perdure.worker w on w.id = l.worker
order by l.claimed_at, j.id limit 500;
