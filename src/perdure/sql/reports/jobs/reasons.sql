-- How many jobs are dead or held, by reason and task?
-- Reads: dead and held from end to end; their jobs by id.
-- Then: a reason that grows is one cause, to be corrected once; jobs.dead has the errors.
select p.place, p.reason, j.task, count(*) as jobs, min(p.since) as oldest, max(p.since) as newest
from (select id, 'dead' as place, reason, died_at as since from perdure.dead
      union all select id, 'held', reason, held_at from perdure.held) p
join perdure.job j on j.id = p.id
group by 1, 2, 3 order by jobs desc, 1, 2, 3 limit 500;
