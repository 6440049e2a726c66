-- Does: what there is to know about why one job stands where it stands: its place, its queue, who could run it, who holds it, whose transaction has it locked, how its last attempt ended.
-- Locks: none.
-- Index: pg_stat_activity and pg_prepared_xacts whole; job, history, dead, held, waiting, run, step, follow_up and cancel_request by id; ready (lane, pos) up to the job's own place in line; attempt by job; worker_living; whole of lease, one row a claimed batch.
-- Bound: one job, and what its run has recorded; what stands before it is counted up to `ahead_max`.
select v.id, v.task, v.queue, v.key, v.place, v.reason, v.outcome, v.attempt, v.rescues, v.generation, v.error,
       extract(epoch from clock_timestamp() - v.created_at)::float8 as age, v.run_at,
       extract(epoch from v.run_at - clock_timestamp())::float8 as due_in,
       extract(epoch from v.expires_at - clock_timestamp())::float8 as expires_in,
       q.paused_at,
       (select count(*) from perdure.worker w where w.state in ('alive', 'draining') and w.expires_at > clock_timestamp())::int as living,
       coalesce(s.workers, 0)::int as workers, coalesce(s.slots, 0)::int as slots, coalesce(s.lost, 0)::int as lost,
       case when v.place = 'ready' then (
           select count(*) from (select from perdure.ready r
                                 where r.lane >= q.id * 4096 and r.lane <= j.lane and (r.lane < j.lane or r.pos < j.pos)
                                 limit %(ahead_max)s::int) a)::int end as ahead,
       h.key as held_key, extract(epoch from clock_timestamp() - h.held_at)::float8 as held_for,
       l.id as lease, extract(epoch from clock_timestamp() - l.claimed_at)::float8 as held_by_lease_for,
       w.id as worker, w.name as worker_name, w.state as worker_state,
       extract(epoch from w.expires_at - clock_timestamp())::float8 as silent_in,
       extract(epoch from clock_timestamp() - c.requested_at)::float8 as cancel_asked, c.reason as cancel_reason,
       a.ending as last_ending, a.error as last_error,
       v.run_at >= timestamptz '9000-01-01 00:00:00+00' as in_line,
       k.locked_by, (v.options ->> 'put_off')::boolean as put_off, v.options ->> 'at_most_once' = 'true' as once, v.context ->> 'replayed_by' as replayed_by,
       case when v.place = 'waiting' then (
           select string_agg(case when s.state = 'retry' then 'the next attempt of ' || s.name when s.kind in ('child', 'sleep') then s.name
                                  else s.kind || ' ' || coalesce(s.detail, s.name) end, ', ' order by s.seq)
           from perdure.step s where s.run = j.id and s.state in ('waiting', 'retry')) end as waits_for,
       v.place = 'waiting' and exists (select from perdure.step s where s.run = j.id and s.state = 'retry') as tries_again,
       extract(epoch from x.wake_at - clock_timestamp())::float8 as wakes_in, n.id as run, n.paused_at as run_paused_at, n.trouble as run_trouble, n.failed_step,
       (select f.problem from perdure.follow_up f where f.job = v.id and f.problem is not null order by f.number limit 1) as unfollowed,
       case when v.place in ('dead', 'history') then (
           select string_agg((f.spec ->> 'task') || coalesce(' in ' || (f.spec ->> 'queue'), ''), ', ' order by f.number)
           from perdure.follow_up f
           where f.job = v.id and f.problem is null and (f.cause = 'death') = (v.place = 'dead')) end as following,
       b.undone, b.undoing, b.standing, b.first_undone
from perdure.jobs v
join perdure.queue q on q.name = v.queue
left join perdure.job j on j.id = v.id
left join perdure.held h on h.id = j.id
left join perdure.cancel_request c on c.id = j.id
left join perdure.waiting x on x.id = j.id
left join perdure.run n on n.job = j.id
left join lateral (
    select l.id, l.worker, l.claimed_at from perdure.lease l
    cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
    where v.place = 'leased' and t.id = j.id and t.generation = j.generation limit 1) l on true
left join perdure.worker w on w.id = l.worker
left join lateral (
    select o.who as locked_by
    from (select 'session ' || a.pid || coalesce(' (' || nullif(a.application_name, '') || ')', '') as who, a.xact_start as since
          from pg_stat_activity a where a.backend_xid = j.xmax
          union all select 'the prepared transaction ' || p.gid, p.prepared from pg_prepared_xacts p where p.transaction = j.xmax) o
    where o.since < clock_timestamp() - %(locked_seconds)s::float8 * interval '1 s' limit 1) k on true
left join lateral (
    select count(*) as workers, sum(w.slots) as slots, sum((w.gauges -> 'queues' -> v.queue ->> 'lost')::int) as lost
    from perdure.worker w
    where w.state = 'alive' and w.expires_at > clock_timestamp() and v.queue = any(w.queues)) s on true
left join lateral (
    select a.ending, a.error from perdure.attempt a where a.job = v.id order by a.ended_at desc, a.generation desc limit 1) a on true
left join lateral (
    select (array_agg(s.name order by u.seq) filter (where u.state = 'done'))[:%(names_max)s::int] as undone,
           (array_agg(s.name order by s.seq desc) filter (where u.state <> 'done'))[:%(names_max)s::int] as undoing,
           (array_agg(s.name order by s.seq desc) filter (where u.name is null))[:%(names_max)s::int] as standing,
           (array_agg(s.name order by s.seq) filter (where u.name is not null))[1] as first_undone
    from perdure.step s left join perdure.step u on u.run = s.run and u.name = 'undo ' || s.name and u.kind = 'undo'
    where v.place in ('held', 'dead') and s.run = n.job and s.kind = 'step' and s.attempt > 0) b on true
where v.id = %(id)s::bigint
limit 1
