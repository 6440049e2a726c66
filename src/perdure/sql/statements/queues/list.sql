-- Does: every queue with its depth by place, and the age of its oldest ready job.
-- Locks: none.
-- Index: whole of ready, scheduled, held, dead and lease: each small beside job, but a million ready jobs are counted.
-- Bound: the rows of those tables.
with standing as (
    select lane / 4096 as queue, count(*) as ready, min(id) as oldest from perdure.ready group by 1
), away as (
    select j.lane / 4096 as queue, p.place, count(*) as n
    from (select id, 'scheduled' as place, null::int as generation from perdure.scheduled
          union all select id, 'held', null from perdure.held union all select id, 'dead', null from perdure.dead
          union all select unnest(jobs), 'leased', unnest(generations) from perdure.lease) p
    join perdure.job j on j.id = p.id and j.generation = coalesce(p.generation, j.generation) group by 1, 2
)
select q.name, q.paused_at, coalesce(s.ready, 0) as ready,
       coalesce((select n from away where queue = q.id and place = 'scheduled'), 0) as scheduled,
       coalesce((select n from away where queue = q.id and place = 'leased'), 0) as leased,
       coalesce((select n from away where queue = q.id and place = 'held'), 0) as held,
       coalesce((select n from away where queue = q.id and place = 'dead'), 0) as dead,
       (select extract(epoch from clock_timestamp() - j.created_at)::float8 from perdure.job j where j.id = s.oldest) as oldest_seconds
from perdure.queue q left join standing s on s.queue = q.id
order by q.name
