-- Does: keeps why a run is parked.
-- Locks: the run rows.
-- Index: run by job.
-- Bound: the ids given.
update perdure.run r set trouble = t.trouble
from unnest(%(ids)s::bigint[], %(troubles)s::text[]) as t(job, trouble) where r.job = t.job and r.job = any(%(ids)s::bigint[])
