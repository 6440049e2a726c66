-- Who works, on what, and how much does each hold?
-- Reads: the workers; the leases.
-- Then: a worker whose slots are all taken wants company; one that holds nothing while its queue has jobs is stuck or deaf.
select w.id, w.name, w.host, w.pid, w.state, w.queues, w.slots, coalesce(h.jobs, 0) as jobs, h.oldest,
       w.started_at, extract(epoch from w.expires_at - clock_timestamp())::float8 as expires_in_seconds
from perdure.worker w
left join (select l.worker, count(*) as jobs, min(l.claimed_at) as oldest
           from perdure.lease l cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
           join perdure.job j on j.id = t.id and j.generation = t.generation group by 1) h on h.worker = w.id
where w.state in ('alive', 'draining')
order by jobs desc, w.id;
