-- Does: which of these leases a worker still has, and how many jobs are in each besides those of which that isn't known: the answer to whether the server that answers now is the one that gave them, and has all that was settled of them.
-- Locks: none.
-- Index: lease by id; job by id.
-- Bound: the ids given, and the jobs of their leases.
select l.id, count(j.here) filter (where t.id <> all(%(unsure)s::bigint[])) as jobs
from perdure.lease l
cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
left join lateral (
    select true as here from perdure.job j where j.id = t.id and j.generation = t.generation limit 1
) j on true
where l.id = any(%(ids)s::bigint[]) and l.worker = %(worker)s::int
group by l.id
