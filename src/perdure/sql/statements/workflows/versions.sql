-- Does: the workflows and versions of which runs live, and how many of each.
-- Locks: none.
-- Index: whole of the runs that live; job by id.
-- Bound: the live runs, counted.
select r.name, r.version, count(*) as runs
from perdure.run r join perdure.job j on j.id = r.job
where not exists (select from perdure.dead d where d.id = r.job)
group by r.name, r.version order by r.name, r.version
