-- Does: puts in rows such as workflows record, whole, with nothing else: no fence, no conflict met, no answer. The floor of their steps.
-- Locks: row exclusive on step.
-- Index: none is read; the primary key is written.
-- Bound: the rows given; of what none of them has, an empty array stands for none.
insert into perdure.step (run, name, seq, kind, state, attempt, started_at, ended_at, due_at, detail, outcome)
select t.run, t.name, t.seq, t.kind, t.state, t.attempt, to_timestamp(t.started), to_timestamp(t.ended), to_timestamp(t.due),
       t.detail, t.outcome::json
from unnest(%(runs)s::bigint[], %(names)s::text[], %(seqs)s::int[], %(kinds)s::text[], %(states)s::text[], %(attempts)s::int[],
            %(started)s::float8[], %(ended)s::float8[], %(dues)s::float8[], %(details)s::text[], %(outcomes)s::text[])
     as t(run, name, seq, kind, state, attempt, started, ended, due, detail, outcome)
