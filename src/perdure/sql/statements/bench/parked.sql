-- Does: how many runs wait, how many jobs workers hold, and how many have completed.
-- Locks: none.
-- Index: none; it reads the tables of a benchmark through.
-- Bound: the rows of a benchmark.
select (select count(*) from perdure.waiting) as waiting,
       (select count(*) from perdure.lease l cross join unnest(l.jobs, l.generations) as t(id, generation)
        join perdure.job j on j.id = t.id and j.generation = t.generation) as held,
       (select count(*) from perdure.history where outcome = 'completed') as completed
