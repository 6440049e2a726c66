-- Which jobs are due next?
-- Reads: the first hundred of scheduled.
-- Then: what is overdue by more than a second or two has nobody to promote it: start a worker, or see background.units.
select s.run_at, extract(epoch from s.run_at - clock_timestamp())::float8 as due_in_seconds, j.id, j.task, q.name as queue,
       j.key, j.attempt
from perdure.scheduled s
join perdure.job j on j.id = s.id
join perdure.queue q on q.id = j.lane / 4096
order by s.run_at, s.id limit 100;
