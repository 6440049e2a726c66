-- Does: what autovacuum would have done by the time a backlog is drained, for the jobs and for the floor alike.
-- Locks: share update exclusive on the tables.
-- Index: their own.
-- Bound: the rows of a benchmark.
vacuum (analyze) perdure.floor, perdure.job, perdure.ready
