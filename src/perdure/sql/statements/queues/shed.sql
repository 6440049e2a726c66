-- Does: discards `wanted` waiting jobs of a queue that are less urgent than `priority`, the least urgent first and of those the newest; none, when there aren't as many.
-- Locks: row exclusive on ready; the ready and job rows, skipping locked ones.
-- Index: ready (lane, pos), backwards; job by id.
-- Bound: `wanted` jobs.
select perdure.shed(%(queue)s::int, %(priority)s::int, %(wanted)s::int) as shed
