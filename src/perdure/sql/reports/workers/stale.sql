-- Which workers have gone silent and still count as alive?
-- Reads: the living workers; the leases of the silent ones.
-- Then: any living worker declares them dead within a second. If they stay, none lives: start one.
select w.id, w.name, w.host, w.pid, w.state, extract(epoch from clock_timestamp() - w.expires_at)::float8 as silent_seconds,
       (select coalesce(sum(cardinality(l.jobs)), 0)::int from perdure.lease l where l.worker = w.id) as jobs
from perdure.worker w
where w.state in ('alive', 'draining') and w.expires_at < clock_timestamp()
order by w.expires_at;
