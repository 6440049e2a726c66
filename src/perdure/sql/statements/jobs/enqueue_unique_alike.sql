-- Does: writes the bodies of many jobs that are due now and differ in their arguments and their unique keys only, the keys, and their arrivals in ready, and wakes sleepers; a job whose key is taken isn't written. Writes nothing when their queue has no row yet, or is guarded and hasn't admitted them.
-- Locks: the keys, in ascending order: a key that an open transaction has just written is waited for. Row exclusive on job and ready.
-- Index: queue by name; unique_key (key, scope).
-- Bound: the payloads and the keys, which come as one text each between unit separators, as in jobs.enqueue_alike.
with place as materialized (
    select q.id as queue, q.id * 4096 + coalesce(%(priority)s::int, 5) as lane
    from perdure.queue q where q.name = %(queue)s::text and (%(admitted)s::boolean or not q.guarded)
), asked as materialized (
    select nextval('perdure.pos') as id, payload
    from place, string_to_table(%(payloads)s::text, chr(31)) as t(payload)
), won as materialized (
    select array_agg(id) as asked,
           perdure.take_keys(
               array[%(scope)s::text], string_to_array(%(uniques)s::text, chr(31)), array_agg(id), array[%(until)s::text],
               case when %(lifetime)s::float8 is not null then array_agg(%(lifetime)s::float8) end,
               case when %(lifetime)s::float8 is not null then array_agg(hashtextextended(payload::jsonb::text, 0)) end) as ids
    from asked having count(*) > 0
), winners as materialized (
    select id, payload from asked where (select ids is null from won) or id in (select unnest(ids) from won)
), bodies as (
    insert into perdure.job (id, pos, created_at, expires_at, lane, task, key, tags, options, context, payload)
    select w.id, w.id, statement_timestamp(),
           coalesce(%(expires_at)s::timestamptz, statement_timestamp() + %(expires_in)s::float8 * interval '1 second'),
           p.lane, %(task)s::text, %(key)s::text, %(tags)s::text[], %(options)s::text::json, %(context)s::text::json, w.payload::json
    from place p, winners w
), arrivals as (
    insert into perdure.ready (lane, pos, id) select p.lane, w.id, w.id from place p, winners w
)
select exists (select from place) as known, (select asked from won) as ids, (select ids from won) as won,
       (select perdure.wake(queue) from place where %(wake)s::boolean and exists (select from winners)) as woken
