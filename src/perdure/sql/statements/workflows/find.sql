-- Does: runs by the ids that callers name them by: the job of each, its workflow, and whether it was started with other arguments than those given, if any are.
-- Locks: none.
-- Index: run_id; job by id; history by id.
-- Bound: the ids given.
select r.id, r.job, r.name, coalesce(case when a.payload is not null then (
           select v.payload::jsonb <> a.payload::jsonb
           from (
               select j.payload from perdure.job j where j.id = r.job
               union all
               (select h.payload from perdure.history h where h.id = r.job limit 1)
               limit 1
           ) v) end, false) as differs
from unnest(%(ids)s::text[], %(payloads)s::text[]) as a(id, payload)
cross join lateral (select x.id, x.job, x.name from perdure.run x where x.id = a.id and not x.superseded limit 1) r
