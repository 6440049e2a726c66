-- Which jobs gave up, and why?
-- Reads: dead, newest first, 500 of them; their jobs by id.
-- Then: correct the cause, then perdure jobs redrive ID; or perdure jobs discard ID. jobs.reasons counts them.
select d.id, j.task, q.name as queue, j.key, d.reason, j.attempt, j.rescues, d.died_at,
       (regexp_split_to_array(rtrim(d.error, E'\n'), E'\n'))[array_length(regexp_split_to_array(rtrim(d.error, E'\n'), E'\n'), 1)] as error
from perdure.dead d
join perdure.job j on j.id = d.id
join perdure.queue q on q.id = j.lane / 4096
order by d.died_at desc, d.id desc limit 500;
