-- Does: locks those of the jobs that nobody else has locked, so that what follows in the transaction waits for nobody.
-- Locks: the job rows, in ascending id, skipping locked ones.
-- Index: job by id.
-- Bound: the ids given.
select j.id from perdure.job j
join unnest(%(ids)s::bigint[], %(generations)s::int[]) as t(id, generation) on t.id = j.id and t.generation = j.generation
where j.id = any(%(ids)s::bigint[])
order by j.id for update of j skip locked
