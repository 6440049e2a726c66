-- Does: writes the body of one job that is due now and its arrival in ready, and wakes sleepers. Writes nothing and returns no row when its queue has none yet, or is guarded and hasn't admitted it.
-- Locks: row exclusive on job and ready; waits for nobody.
-- Index: queue by name.
-- Bound: one job.
with body as (
    insert into perdure.job (id, pos, created_at, expires_at, lane, task, key, tags, options, context, payload)
    select w.id, w.id, statement_timestamp(),
           coalesce(%(expires_at)s::timestamptz, clock_timestamp() + %(expires_in)s::float8 * interval '1 second'),
           w.queue * 4096 + coalesce(%(priority)s::int, 5), %(task)s::text, %(key)s::text, %(tags)s::text[],
           %(options)s::text::json, %(context)s::text::json, %(payload)s::text::json
    from (select nextval('perdure.pos') as id, q.id as queue from perdure.queue q
          where q.name = %(queue)s::text and (%(admitted)s::boolean or not q.guarded)) w
    returning id, lane
)
insert into perdure.ready (lane, pos, id) select lane, id, id from body
returning id, %(wake)s::boolean and perdure.wake(lane / 4096) as woken
