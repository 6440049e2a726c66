-- Does: the leases of one worker, each with the jobs that are still in it, and which of these must not run twice.
-- Locks: none.
-- Index: lease by worker; job by id.
-- Bound: the worker's leases.
select l.id as lease, array_agg(t.id) filter (where j.here) as ids,
       array_agg(t.generation) filter (where j.here) as generations, array_agg(t.id) filter (where j.once) as once
from perdure.lease l
cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
left join lateral (
    select true as here, j.options ->> 'at_most_once' = 'true' as once
    from perdure.job j where j.id = t.id and j.generation = t.generation limit 1
) j on true
where l.worker = %(worker)s::int
group by l.id order by l.id
