-- Does: writes the bodies of jobs with unique keys, the keys, and their arrivals in ready (in scheduled, when due later), and wakes sleepers; a job whose key is taken isn't written. Writes nothing when a queue has no row yet, or is guarded and hasn't admitted them.
-- Locks: the keys, in ascending order: a key that an open transaction has just written is waited for. Row exclusive on job, ready and scheduled.
-- Index: queue by name; unique_key (key, scope).
-- Bound: the rows given; in tasks and queues an array of one value stands for every row, elsewhere a missing value is null.
with known as materialized (
    select bool_and(exists (select from perdure.queue q
                            where q.name = s.name and (%(admitted)s::boolean or not q.guarded))) as every
    from (select distinct unnest(%(queues)s::text[])) as s(name)
), asked as materialized (
    select nextval('perdure.pos') as id,
           coalesce(t.run_at, clock_timestamp() + t.delay * interval '1 second') as due, t.*
    from unnest(%(payloads)s::text[], %(tasks)s::text[], %(queues)s::text[], %(keys)s::text[], %(priorities)s::int[],
                %(run_ats)s::timestamptz[], %(delays)s::float8[], %(expires_ats)s::timestamptz[],
                %(expires_ins)s::float8[], %(options)s::text[], %(tags)s::text[], %(contexts)s::text[],
                %(scopes)s::text[], %(uniques)s::text[], %(untils)s::text[], %(lifetimes)s::float8[])
         as t(payload, task, queue, key, priority, run_at, delay, expires_at, expires_in, options, tags, context,
              scope, unique_key, until, lifetime)
    where (select every from known)
), won as materialized (
    select array_agg(id) as asked,
           perdure.take_keys(array_agg(scope), array_agg(unique_key), array_agg(id), array_agg(coalesce(until, 'done')),
                             array_agg(lifetime), array_agg(case when lifetime is not null then hashtextextended(payload::jsonb::text, 0) end)) as ids
    from asked having count(*) > 0
), bodies as (
    insert into perdure.job (id, pos, created_at, run_at, expires_at, lane, task, key, tags, options, context, payload)
    select id, id, statement_timestamp(), case when due > clock_timestamp() then due end,
           coalesce(expires_at, clock_timestamp() + expires_in * interval '1 second'),
           case when queue is null then (select q.id from perdure.queue q where q.name = (%(queues)s::text[])[1])
                else (select q.id from perdure.queue q where q.name = queue) end * 4096 + coalesce(priority, 5),
           coalesce(task, (%(tasks)s::text[])[1]), key, tags::text[], options::json, context::json, payload::json
    from asked where (select ids is null from won) or id in (select unnest(ids) from won)
    returning id, lane, run_at
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, id, id from bodies where run_at is null
), later as (
    insert into perdure.scheduled (run_at, id) select run_at, id from bodies where run_at is not null
)
select (select every from known) as known, (select asked from won) as ids, (select ids from won) as won,
       (select count(*) filter (where perdure.wake(q.id)) from perdure.queue q
        where %(wake)s::boolean and q.name = any(%(queues)s::text[])
          and exists (select from bodies where run_at is null or run_at < clock_timestamp() + interval '2 seconds')) as woken
