-- Does: every queue, or one, with its depth by place, since when its oldest ready job has been ready, what is declared of it, and how it moved over the last minute.
-- Locks: none.
-- Index: whole of ready, scheduled, held, waiting, dead and lease: each small beside job, but a million ready jobs are counted; queue_sample by queue and time.
-- Bound: the rows of those tables.
with lanes as materialized (
    select lane, count(*) as ready, min(pos) as first from perdure.ready group by lane
), standing as (
    select l.lane / 4096 as queue, sum(l.ready)::bigint as ready,
           min(greatest(j.created_at, case when j.run_at <= clock_timestamp() then j.run_at end)) as since
    from lanes l join perdure.ready r on r.lane = l.lane and r.pos = l.first join perdure.job j on j.id = r.id group by 1
), away as (
    select j.lane / 4096 as queue, p.place, count(*) as n
    from (select id, case when run_at < timestamptz '9000-01-01 00:00:00+00' then 'scheduled' else 'line' end as place,
                 null::int as generation from perdure.scheduled
          union all select id, 'held', null from perdure.held
          union all select id, 'waiting', null from perdure.waiting union all select id, 'dead', null from perdure.dead
          union all select unnest(jobs), 'leased', unnest(generations) from perdure.lease) p
    join perdure.job j on j.id = p.id and j.generation = coalesce(p.generation, j.generation) group by 1, 2
), serving as (
    select s.name, count(*) as workers,
           coalesce(sum((w.gauges -> 'queues' -> s.name ->> 'ended_per_second')::float8), 0) as ended_per_second
    from perdure.worker w cross join lateral unnest(w.queues) as s(name)
    where w.state = 'alive' and w.expires_at > clock_timestamp() group by s.name
)
select q.name, q.paused_at, coalesce(s.ready, 0) as ready,
       coalesce((select sum(n)::bigint from away where queue = q.id and place in ('scheduled', 'line')), 0) as scheduled,
       coalesce((select n from away where queue = q.id and place = 'line'), 0) as line,
       coalesce((select n from away where queue = q.id and place = 'leased'), 0) as leased,
       coalesce((select n from away where queue = q.id and place = 'held'), 0) as held,
       coalesce((select n from away where queue = q.id and place = 'waiting'), 0) as waiting,
       coalesce((select n from away where queue = q.id and place = 'dead'), 0) as dead,
       extract(epoch from clock_timestamp() - s.since)::float8 as oldest_seconds,
       coalesce(r.unlimited, false) as unlimited, r.max_depth, r.max_age, r.when_full, r.deadline, r.retention_days,
       coalesce(r.tenant_required, false) as tenant_required,
       coalesce(v.workers, 0)::int as workers, coalesce(v.ended_per_second, 0)::float8 as ended_per_second,
       coalesce(s.ready, 0) - p.ready as grown, extract(epoch from clock_timestamp() - p.at)::float8 as grown_in
from perdure.queue q
left join standing s on s.queue = q.id
left join perdure.queue_rule r on r.queue = q.id
left join serving v on v.name = q.name
left join lateral (
    select x.ready, x.at from perdure.queue_sample x
    where x.queue = q.id and x.at > clock_timestamp() - interval '1 minute' order by x.at limit 1
) p on true
order by q.name
