-- Does: the leases of one worker, each with the jobs that are still in it.
-- Locks: none.
-- Index: lease by worker; job by id.
-- Bound: the worker's leases.
select l.id as lease, array_agg(t.id) filter (where j.id is not null) as ids,
       array_agg(t.generation) filter (where j.id is not null) as generations
from perdure.lease l
cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
left join perdure.job j on j.id = t.id and j.generation = t.generation
where l.worker = %(worker)s::int
group by l.id order by l.id
