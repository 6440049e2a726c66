-- Does: writes the body of one job with a unique key, the key, and its arrival in ready (in scheduled, when due later), and wakes sleepers; a job whose key is taken isn't written. Writes nothing when its queue has no row yet, or is guarded and hasn't admitted it.
-- Locks: the key: one that an open transaction has just written is waited for. Row exclusive on job, ready and scheduled.
-- Index: queue by name; unique_key (key, scope).
-- Bound: one job.
with asked as materialized (
    select nextval('perdure.pos') as id, q.id as queue,
           coalesce(%(run_at)s::timestamptz, clock_timestamp() + %(delay)s::float8 * interval '1 second') as due
    from perdure.queue q where q.name = %(queue)s::text and (%(admitted)s::boolean or not q.guarded)
), won as (
    insert into perdure.unique_key (scope, key, id, until, expires_at, payload)
    select %(scope)s::text, %(unique)s::text, id, %(until)s::text,
           clock_timestamp() + %(lifetime)s::float8 * interval '1 second',
           case when %(lifetime)s::float8 is not null then hashtextextended(%(payload)s::text::jsonb::text, 0) end
    from asked
    on conflict (scope, key) do nothing
    returning id
), body as (
    insert into perdure.job (id, pos, created_at, run_at, expires_at, lane, task, key, tags, options, context, payload)
    select a.id, a.id, statement_timestamp(), case when a.due > clock_timestamp() then a.due end,
           coalesce(%(expires_at)s::timestamptz, clock_timestamp() + %(expires_in)s::float8 * interval '1 second'),
           a.queue * 4096 + coalesce(%(priority)s::int, 5), %(task)s::text, %(key)s::text, %(tags)s::text[],
           %(options)s::text::json, %(context)s::text::json, %(payload)s::text::json
    from asked a, won w where w.id = a.id
    returning id, lane, run_at
), arrival as (
    insert into perdure.ready (lane, pos, id) select lane, id, id from body where run_at is null
), later as (
    insert into perdure.scheduled (run_at, id) select run_at, id from body where run_at is not null
)
select exists (select from asked) as known, (select id from body) as id,
       (select %(wake)s::boolean and coalesce(run_at < clock_timestamp() + interval '2 seconds', true)
               and perdure.wake(lane / 4096) from body) as woken
