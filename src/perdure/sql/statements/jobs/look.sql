-- Does: what there is to do, in one look: queues with something above a floor, when the next scheduled job is due (seconds), whether leases are lost, which workers' beats have run out and when the next one will (seconds), whether cancel requests, pauses, nudges or pleas wait, and whether jobs are parked whose task, or version of a task, is known here; the same of the next waiting job that has a moment.
-- Locks: none; no transaction id.
-- Index: ready (lane, pos); scheduled (run_at, id) and waiting_due, from their floors on; lease by worker; worker_living; held by reason and key, when anything is parked.
-- Bound: one row per lane; the leases; the living workers.
select coalesce((select array_agg(distinct l.lane / 4096)
        from unnest(%(lanes)s::int[], %(floors)s::bigint[]) as l(lane, floor)
        join perdure.queue q on q.id = l.lane / 4096 and q.paused_at is null
        cross join lateral (select r.pos from perdure.ready r where r.lane = l.lane and r.pos > l.floor limit 1) p),
       '{}') as queues,
       extract(epoch from s.due_at - s.clock)::float8 as due_in,
       (extract(epoch from s.due_at) * 1000000)::bigint as due_at, (extract(epoch from s.clock) * 1000000)::bigint as clock,
       extract(epoch from s.wake_at - s.clock)::float8 as wake_in, (extract(epoch from s.wake_at) * 1000000)::bigint as wake_at,
       exists (select from perdure.lease l where not exists (
           select from perdure.worker w where w.id = l.worker and w.state in ('alive', 'draining'))) as lost,
       coalesce((select array_agg(w.id order by w.id) from perdure.worker w
        where w.state in ('alive', 'draining') and w.expires_at < statement_timestamp()), '{}') as expired,
       (select extract(epoch from w.expires_at - clock_timestamp())::float8 from perdure.worker w
        where w.state in ('alive', 'draining') and w.expires_at >= statement_timestamp()
        order by w.expires_at limit 1) as lapses_in,
       exists (select from perdure.cancel_request) or exists (
           select from perdure.pause p where p.resumed or not exists (select from perdure.held h where h.id = p.id offset 0)) as requests,
       exists (select from perdure.nudge) or exists (select from perdure.plea) as nudged,
       case when exists (select from perdure.held where reason in ('unknown_task', 'newer_version', 'checkpoint_version'))
            then exists (select from perdure.held where reason in ('unknown_task', 'newer_version', 'checkpoint_version') and key = any(%(tasks)s::text[]))
            else false end as parked
from (select (select run_at from perdure.scheduled
              where run_at > timestamptz 'epoch' + %(due_floor)s::bigint * interval '1 microsecond' order by run_at limit 1) as due_at,
             (select w.wake_at from perdure.waiting w
              where w.wake_at > timestamptz 'epoch' + %(alarm_floor)s::bigint * interval '1 microsecond'
              order by w.wake_at limit 1) as wake_at,
             clock_timestamp() as clock) s
