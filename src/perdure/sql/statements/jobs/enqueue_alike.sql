-- Does: writes the bodies of many jobs that are due now and differ in their arguments only, and their arrivals in ready, and wakes sleepers. Writes nothing and returns null when their queue has no row yet, or is guarded and hasn't admitted them.
-- Locks: row exclusive on job and ready; waits for nobody.
-- Index: queue by name.
-- Bound: the payloads, which come as one text between unit separators (a control character, which JSON can't hold as it is).
with place as materialized (
    select q.id as queue, q.id * 4096 + coalesce(%(priority)s::int, 5) as lane
    from perdure.queue q where q.name = %(queue)s::text and (%(admitted)s::boolean or not q.guarded)
), arriving as materialized (
    select nextval('perdure.pos') as id, lane, payload
    from place, string_to_table(%(payloads)s::text, chr(31)) as t(payload)
), bodies as (
    insert into perdure.job (id, pos, created_at, expires_at, lane, task, key, tags, options, context, payload)
    select id, id, statement_timestamp(),
           coalesce(%(expires_at)s::timestamptz, statement_timestamp() + %(expires_in)s::float8 * interval '1 second'),
           lane, %(task)s::text, %(key)s::text, %(tags)s::text[], %(options)s::text::json, %(context)s::text::json, payload::json
    from arriving
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, id, id from arriving
)
select (select array_agg(id) from arriving) as ids,
       (select perdure.wake(queue) from place where %(wake)s::boolean) as woken
