-- Does: fills history with finished jobs that never ran, of the size of a benchmark's own.
-- Locks: row exclusive on history.
-- Index: none.
-- Bound: the rows asked for.
insert into perdure.history (id, created_at, started_at, finished_at, lease, lane, generation, attempt, rescues, outcome,
                             task, payload)
select -n, clock_timestamp(), clock_timestamp(), clock_timestamp(), 0, 4101, 0, 1, 0, 'completed', 'noop', %(payload)s::text::json
from generate_series(%(first)s::bigint, %(last)s::bigint) n
