-- Does: what each named queue may still take, and what is declared to happen to the rest. May count a queue anew, and append what it found.
-- Locks: an advisory lock while a queue is counted, never waited for.
-- Index: queue by name; queue_rule by queue; queue_sample by queue and time; ready (lane, pos), past the last sample; scheduled (run_at, id).
-- Bound: the names given; a thousand arrivals each since the last sample, or one count of the queue to twice its bound.
select q.id, q.name, q.guarded, a.*
from unnest(%(names)s::text[], %(wanted)s::int[]) as t(name, wanted)
join perdure.queue q on q.name = t.name
left join lateral perdure.admit(q.id, t.wanted) a on q.guarded
