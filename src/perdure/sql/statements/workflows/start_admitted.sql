-- Does: the same as start, in a queue that has been asked for room: those that a full queue has put off, or lets wait in line, are due later. Returns no row when the queue has none.
-- Locks: row exclusive on run, job, ready and scheduled; the runs in the order of their ids, each waiting for a transaction that is starting one of the same id.
-- Index: queue by name; run_id.
-- Bound: the runs given.
with t as materialized (
    select t.id, t.payload, t.options, t.place, nextval('perdure.pos') as job, q.id * 4096 + coalesce(%(priority)s::int, 5) as lane,
           coalesce(t.run_at, clock_timestamp() + t.delay * interval '1 second') as due
    from perdure.queue q
    cross join unnest(%(ids)s::text[], %(payloads)s::text[], %(run_ats)s::timestamptz[], %(delays)s::float8[], %(options)s::text[])
         with ordinality as t(id, payload, run_at, delay, options, place)
    where q.name = %(queue)s::text
    order by t.place
), runs as (
    insert into perdure.run (job, id, name, version, parent, close, attributes, deadline_at)
    select t.job, t.id, %(name)s::text, %(version)s::int, %(parent)s::bigint, %(close)s::text, %(attributes)s::text::json,
           coalesce(%(deadline_at)s::timestamptz, clock_timestamp() + %(deadline_in)s::float8 * interval '1 second')
    from t order by t.id
    on conflict (id) where not superseded do nothing
    returning job, id
), bodies as (
    insert into perdure.job (id, pos, created_at, run_at, lane, task, key, tags, options, context, payload)
    select t.job, t.job, statement_timestamp(), case when t.due > clock_timestamp() then t.due end, t.lane, %(task)s::text,
           %(key)s::text, %(tags)s::text[], t.options::json, %(context)s::text::json, t.payload::json
    from t join runs on runs.job = t.job
    returning id, lane, run_at
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, id, id from bodies where run_at is null returning lane
), later as (
    insert into perdure.scheduled (run_at, id) select run_at, id from bodies where run_at is not null
)
select t.place, t.id, r.job, r.job is not null as new,
       (select count(*) filter (where perdure.wake(queue)) from (select distinct lane / 4096 as queue from arrivals) s) as woken
from t left join runs r on r.job = t.job
order by t.place
