-- Does: the attempt log of one job, in order.
-- Locks: none.
-- Index: attempt by job.
-- Bound: the attempts of one job.
select ended_at, started_at, worker, lease, generation, attempt, ending, error
from perdure.attempt where job = %(id)s::bigint order by ended_at, generation
