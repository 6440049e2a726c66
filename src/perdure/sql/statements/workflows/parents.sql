-- Does: holds the parents of runs that have ended against their going to wait meanwhile.
-- Locks: the run rows for key share, in ascending id: a run that is going to wait sees it, and doesn't wait for long.
-- Index: run by job.
-- Bound: the ids given, and their parents.
select job from perdure.run
where job = any(array(select c.parent from perdure.run c where c.job = any(%(ids)s::bigint[])))
order by job for key share
