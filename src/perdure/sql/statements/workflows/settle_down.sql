-- Does: locks runs that are going to wait, where nobody writes to their inbox just now.
-- Locks: the run rows for update, in ascending id, skipping those that are locked.
-- Index: run by job.
-- Bound: the ids given.
select job from perdure.run where job = any(%(ids)s::bigint[]) order by job for update skip locked
