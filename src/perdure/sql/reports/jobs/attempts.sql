-- How many live jobs have failed how often?
-- Reads: job from end to end.
-- Then: a task with many attempts fails for a reason of its own: perdure jobs attempts ID shows the errors of one.
select j.attempt as attempts, j.rescues, j.task, count(*) as jobs, min(j.id) as one_of_them
from perdure.job j group by 1, 2, 3 order by 1 desc, 2 desc, jobs desc limit 200;
