-- Which keys have the most jobs waiting?
-- Reads: job from end to end.
-- Then: one key with most of the backlog is a hot key: its jobs are one customer's, or one loop of somebody's.
select j.key, q.name as queue, count(*) as jobs, min(j.created_at) as oldest, max(j.created_at) as newest,
       min(j.id) as first_of_them
from perdure.job j
join perdure.queue q on q.id = j.lane / 4096
where j.key is not null and not exists (select from perdure.dead d where d.id = j.id)
group by 1, 2 order by jobs desc, 1 limit 100;
