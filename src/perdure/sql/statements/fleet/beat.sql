-- Does: says a worker is alive, and brings back what it must know: whether it still is, cancel requests for its jobs, which of them are paused, which of the leases that it names are not its any more, how many workers live.
-- Locks: the worker's row (no key update, so claims in flight don't wait for it).
-- Index: worker by id; lease by worker; cancel_request and pause by id.
-- Bound: one row; the leases named, and the worker's.
with beaten as (
    update perdure.worker w
    set expires_at = clock_timestamp() + %(dead_seconds)s::float8 * interval '1 second', gauges = %(gauges)s::text::json
    where w.id = %(worker)s::int and w.state in ('alive', 'draining')
    returning w.id, w.state, w.incarnation
)
select b.state, b.incarnation,
       (select array_agg(c.id) from perdure.cancel_request c
        where exists (select from perdure.lease l where l.worker = b.id and c.id = any(l.jobs))) as cancels,
       (select array_agg(p.id) from perdure.pause p
        where not p.resumed and exists (select from perdure.lease l where l.worker = b.id and p.id = any(l.jobs))) as pauses,
       (select array_agg(t.id) from (select unnest(%(leases)s::bigint[])
                                     except select l.id from perdure.lease l where l.worker = b.id) t(id)) as taken,
       (select count(*) from perdure.worker w where w.state in ('alive', 'draining')) as living,
       coalesce((select array_agg(w.id order by w.id) from perdure.worker w
        where w.state in ('alive', 'draining') and w.expires_at < clock_timestamp()), '{}') as expired
from beaten b
