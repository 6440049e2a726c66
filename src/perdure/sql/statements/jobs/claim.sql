-- Does: takes up to `limit` jobs of one queue out of ready, lowest lane and position first, into one lease row of a worker proved alive.
-- Locks: the worker's row for key share, held to the commit (declaring it dead waits for that); the ready rows, skipping locked ones.
-- Index: ready (lane, pos) from each lane's floor on; job by id; worker by id.
-- Bound: `limit` rows.
with me as materialized (
    select w.id from perdure.worker w
    where w.id = %(worker)s::int and w.incarnation = %(incarnation)s::int and w.state = 'alive'
      and exists (select from perdure.queue q where q.id = %(queue)s::int and q.paused_at is null)
      and exists (select from unnest(%(lanes)s::int[], %(floors)s::bigint[]) as l(lane, floor)
                  cross join lateral (select from perdure.ready r where r.lane = l.lane and r.pos > l.floor limit 1) p)
    for key share of w
), picked as materialized (
    select p.place
    from me cross join unnest(%(lanes)s::int[], %(floors)s::bigint[]) as l(lane, floor)
    cross join lateral (
        select r.ctid as place from perdure.ready r
        where r.lane = l.lane and r.pos > l.floor order by r.pos limit %(limit)s::int for update skip locked
    ) p
    limit %(limit)s::int
), gone as (
    delete from perdure.ready r where r.ctid = any(array(select place from picked)) returning r.id
), batch as materialized (
    select array_agg(b.id) as ids, array_agg(b.generation) as generations, array_agg(b.attempt) as attempts,
           array_agg(b.lane) as lanes, array_agg(b.pos) as positions,
           array_agg(b.task) as tasks, array_agg(b.created_at) as created_ats,
           '[' || string_agg(b.payload::text, ',') || ']' as payloads,
           json_object_agg(b.id, json_build_object('key', b.key, 'tags', b.tags, 'options', b.options, 'rescues', b.rescues,
                                                   'context', b.context,
                                                   'expires_at', case when isfinite(b.expires_at) then extract(epoch from b.expires_at) end))
               filter (where b.key is not null or b.tags is not null or b.options is not null or b.rescues > 0
                       or b.expires_at is not null or b.context is not null)::text as extras,
           array_agg(b.id) filter (where b.expires_at <= statement_timestamp()) as expired
    from (select * from perdure.job j where j.id = any(array(select id from gone)) order by j.lane, j.pos) b
), leased as (
    insert into perdure.lease (worker, jobs, generations)
    select me.id, batch.ids, batch.generations from me cross join batch where batch.ids is not null
    returning id
)
select leased.id as lease, batch.*,
       (select array_agg(c.id) from perdure.cancel_request c where c.id = any(batch.ids)) as cancels
from leased cross join batch
