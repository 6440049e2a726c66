-- Does: writes many jobs that are due now and differ in their arguments and their unique keys only, with the keys, and wakes sleepers; writes nothing when a key is taken. Returns nothing when their queue has no row yet, or is guarded and hasn't admitted them.
-- Locks: the keys, in ascending order: a key that an open transaction has just written is waited for. Row exclusive on job and ready.
-- Index: queue by name; unique_key (key, scope).
-- Bound: the payloads and the keys, which come as one text each between unit separators, as in jobs.enqueue_alike.
select f.ids, case when %(wake)s::boolean and f.ids is not null then perdure.wake(q.id) end as woken
from perdure.queue q,
     lateral perdure.enqueue_free(
         q.id * 4096 + coalesce(%(priority)s::int, 5), %(task)s::text, %(payloads)s::text, %(key)s::text, %(tags)s::text[],
         %(options)s::text::json, %(context)s::text::json,
         coalesce(%(expires_at)s::timestamptz, statement_timestamp() + %(expires_in)s::float8 * interval '1 second'),
         %(scope)s::text, %(uniques)s::text, %(until)s::text, %(lifetime)s::float8) as f(ids)
where q.name = %(queue)s::text and not q.guarded
