-- Does: writes runs that don't exist yet with their jobs, due now, and wakes sleepers; where a run has the id already, that one is told instead. Writes nothing and returns no row when the queue has none yet, or is guarded.
-- Locks: row exclusive on run, job and ready; the runs in the order of their ids, each waiting for a transaction that is starting one of the same id.
-- Index: queue by name; run_id.
-- Bound: the runs given.
with q as materialized (
    select id from perdure.queue where name = %(queue)s::text and not guarded
), t as materialized (
    select t.*, nextval('perdure.pos') as job, q.id * 4096 + coalesce(%(priority)s::int, 5) as lane
    from q cross join unnest(%(ids)s::text[], %(payloads)s::text[]) with ordinality as t(id, payload, place)
    order by t.place
), runs as (
    insert into perdure.run (job, id, name, version, parent, close, attributes, deadline_at)
    select t.job, t.id, %(name)s::text, %(version)s::int, %(parent)s::bigint, %(close)s::text, %(attributes)s::text::json,
           coalesce(%(deadline_at)s::timestamptz, clock_timestamp() + %(deadline_in)s::float8 * interval '1 second')
    from t order by t.id
    on conflict (id) where not superseded do nothing
    returning job, id
), bodies as (
    insert into perdure.job (id, pos, created_at, lane, task, key, tags, context, payload)
    select t.job, t.job, statement_timestamp(), t.lane, %(task)s::text, %(key)s::text, %(tags)s::text[], %(context)s::text::json, t.payload::json
    from t join runs on runs.job = t.job
    returning id, lane
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, id, id from bodies returning lane
)
select t.place, t.id, r.job, r.job is not null as new,
       (select count(*) filter (where perdure.wake(queue)) from (select distinct lane / 4096 as queue from arrivals) s) as woken
from t left join runs r on r.job = t.job
order by t.place
