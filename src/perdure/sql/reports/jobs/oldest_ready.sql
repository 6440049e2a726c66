-- How long has the oldest job that could run now been waiting, in each queue?
-- Reads: ready from end to end; one job of each queue.
-- Then: compare with what the queue promises. queues.attended says who serves it; perdure explain ID says why this one waits.
select q.name as queue, s.ready, j.id, j.task, j.key, j.created_at,
       extract(epoch from clock_timestamp() - coalesce(j.run_at, j.created_at))::float8 as waiting_seconds,
       q.paused_at is not null as paused
from (select lane / 4096 as queue, count(*) as ready, min(id) as oldest from perdure.ready group by 1) s
join perdure.queue q on q.id = s.queue
join perdure.job j on j.id = s.oldest
order by waiting_seconds desc;
