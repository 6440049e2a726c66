-- Which jobs were to be followed by another one that can't be enqueued, and why?
-- Reads: the follow-ups that are left, few rows beside job; 100 at most.
-- Then: enqueue what was to follow, if it is still wanted (its whole spec stands in perdure.follow_up). It is forgotten with its job.
select job, number, cause, spec ->> 'task' as task, problem
from perdure.follow_up where problem is not null order by job, number limit 100;
