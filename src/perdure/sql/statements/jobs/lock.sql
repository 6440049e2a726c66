-- Does: locks jobs that one transaction is going to settle with several statements, before the first of them writes anything.
-- Locks: the job rows, in ascending id; those that aren't the generation given are left alone.
-- Index: job by id.
-- Bound: the ids given.
select j.id from perdure.job j
join unnest(%(ids)s::bigint[], %(generations)s::int[]) as t(id, generation) on t.id = j.id and t.generation = j.generation
where j.id = any(%(ids)s::bigint[])
order by j.id for update of j
