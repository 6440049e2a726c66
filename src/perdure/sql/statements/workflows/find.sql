-- Does: runs by the ids that callers name them by: the job of each, and its workflow.
-- Locks: none.
-- Index: run_id.
-- Bound: the ids given.
select r.id, r.job, r.name from perdure.run r
where r.id = any(%(ids)s::text[]) and not r.superseded
order by r.id
