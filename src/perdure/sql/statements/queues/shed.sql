-- Does: discards in each queue so many waiting jobs that are less urgent than its priority, the least urgent first and of those the newest, never a run of a workflow; none at all, when one hasn't as many: then its place is returned.
-- Locks: row exclusive on ready; the ready and job rows, skipping locked ones.
-- Index: ready (lane, pos), backwards; job by id; run by job.
-- Bound: `wanted` jobs of each queue, beside the runs that stand behind them in its lanes.
select perdure.shed_all(%(queues)s::int[], %(priorities)s::int[], %(wanted)s::int[]) as short
