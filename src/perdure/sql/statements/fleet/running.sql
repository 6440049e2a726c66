-- Does: a worker that runs this version of a workflow, or did lately.
-- Locks: none.
-- Index: whole of worker, which prune keeps small.
-- Bound: one row.
select w.id from perdure.worker w where %(workflow)s::text = any (w.workflows) limit 1
