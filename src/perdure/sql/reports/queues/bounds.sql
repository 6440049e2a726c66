-- What may wait in each queue, and what happens to a job that finds no room?
-- Reads: the queues and what is declared of them.
-- Then: a queue of which nothing is declared grows for as long as more comes than is worked off; say max_depth, or "unlimited".
select q.name as queue, coalesce(r.unlimited, false) as unlimited, r.max_depth, r.max_age as max_age_seconds, r.when_full,
       r.declared_by, r.declared_at
from perdure.queue q left join perdure.queue_rule r on r.queue = q.id
order by q.name;
