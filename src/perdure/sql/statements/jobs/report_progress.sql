-- Does: keeps what handlers last said about their progress, if their jobs are still the generation given; the first report of a generation is where its rate is measured from.
-- Locks: the progress rows.
-- Index: job and progress by id.
-- Bound: the ids given, each once.
insert into perdure.progress as p (job, generation, n, total, message, began_n, began_at, reported_at, advanced_at)
select t.id, t.generation, t.n, t.total, t.message, t.n, statement_timestamp(), statement_timestamp(), statement_timestamp()
from unnest(%(ids)s::bigint[], %(generations)s::int[], %(ns)s::float8[], %(totals)s::float8[], %(messages)s::text[])
     as t(id, generation, n, total, message)
join perdure.job j on j.id = t.id and j.generation = t.generation
where j.id = any(%(ids)s::bigint[])
order by t.id
on conflict (job) do update
set generation = excluded.generation, n = excluded.n, total = excluded.total, message = excluded.message,
    began_n = case when p.generation = excluded.generation then p.began_n else excluded.n end,
    began_at = case when p.generation = excluded.generation then p.began_at else excluded.began_at end,
    reported_at = excluded.reported_at,
    advanced_at = case when p.n = excluded.n then p.advanced_at else excluded.advanced_at end
where p.generation <= excluded.generation
returning job
