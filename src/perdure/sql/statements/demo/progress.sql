-- Does: counts the jobs that have completed, and those that stand anywhere else.
-- Locks: none.
-- Index: none; it reads the tables of a demonstration through.
-- Bound: the rows of a demonstration.
select (select count(*) from perdure.history where outcome = 'completed') as completed,
       (select count(*) from perdure.job) as unfinished
