-- Which queues have jobs that could run now, and who serves them?
-- Reads: ready from end to end; the living workers; one job of each queue.
-- Then: a queue without workers wants one; one with workers and old jobs wants more of them, or faster handlers.
select q.name as queue, s.ready, extract(epoch from clock_timestamp() - j.created_at)::float8 as oldest_seconds,
       (select count(*) from perdure.worker w
        where w.state = 'alive' and w.expires_at > clock_timestamp() and q.name = any(w.queues)) as workers,
       q.paused_at is not null as paused
from (select lane / 4096 as queue, count(*) as ready, min(id) as oldest from perdure.ready group by 1) s
join perdure.queue q on q.id = s.queue
join perdure.job j on j.id = s.oldest
order by oldest_seconds desc;
