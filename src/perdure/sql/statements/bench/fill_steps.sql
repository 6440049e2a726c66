-- Does: puts in rows such as workflows record, with nothing else: the floor of their steps.
-- Locks: row exclusive on step.
-- Index: none is read; the primary key is written.
-- Bound: the rows given.
insert into perdure.step (run, name, seq, kind, state, attempt, started_at, ended_at)
select t.run, t.name, 1, 'step', 'done', 1, clock_timestamp(), clock_timestamp()
from unnest(%(runs)s::bigint[], %(names)s::text[]) as t(run, name)
