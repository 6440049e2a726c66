-- Does: the jobs that a worker holds: their lease, whether their handler has started there, and whether their receipt is sent.
-- Locks: none.
-- Index: lease by worker, job by id.
-- Bound: what one worker holds.
select j.id, l.id as lease, coalesce(j.key, '') as key,
       exists (select from perdure.demo_run r where r.job = j.id and r.generation = j.generation) as started,
       exists (select from perdure.demo_receipt r where r.job = j.id) as sent
from perdure.lease l
cross join lateral unnest(l.jobs, l.generations) as held (id, generation)
join perdure.job j on j.id = held.id and j.generation = held.generation
where l.worker = %(worker)s::int order by j.id
