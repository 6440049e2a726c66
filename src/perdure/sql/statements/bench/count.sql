-- Does: counts the places, and what a benchmark must not have cost: attempts beyond the first, rescues, workers declared dead.
-- Locks: none.
-- Index: none; it reads the tables of a benchmark through.
-- Bound: the rows of a benchmark.
select (select count(*) from perdure.job) as job, (select count(*) from perdure.ready) as ready,
       (select count(*) from perdure.lease) as lease,
       (select count(*) from perdure.worker where state = 'dead') as dead_workers,
       count(*) as history, count(distinct id) as jobs, coalesce(sum(attempt - 1), 0)::bigint as extra_attempts,
       coalesce(sum(rescues), 0)::bigint as rescues
from perdure.history where outcome = 'completed'
