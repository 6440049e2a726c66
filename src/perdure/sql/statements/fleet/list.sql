-- Does: the workers that live or ended lately, with what they hold.
-- Locks: none.
-- Index: whole of worker, which prune keeps small; lease by worker.
-- Bound: `limit` rows.
select w.id, w.name, w.state, w.incarnation, w.host, w.pid, w.slots, w.queues, w.started_at, w.ended_at, w.gauges,
       extract(epoch from w.expires_at - clock_timestamp())::float8 as expires_in,
       (select count(*) from perdure.lease l where l.worker = w.id) as leases
from perdure.worker w
order by (w.state in ('alive', 'draining')) desc, w.id desc limit %(limit)s::int
