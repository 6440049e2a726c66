-- Does: records what runs have done, if they still are the generation that was claimed; a record that has ended stays as it is.
-- Locks: the job rows for share, in ascending id: whoever takes one out of its lease waits for this, or is seen by it.
-- Index: job by id; step by run and name; nudge by id.
-- Bound: the entries given; of what few have, an empty array stands for none, and one value of what all have alike. Told are those whose run is another generation now (not `fenced`: they are stale), that are due some time, or whose run is asked to look up.
with t as materialized (
    select u.run, coalesce(u.generation, (%(generations)s::int[])[1]) as generation, u.name, u.seq,
           coalesce(u.kind, (%(kinds)s::text[])[1]) as kind, coalesce(u.state, (%(states)s::text[])[1]) as state,
           coalesce(u.attempt, (%(attempts)s::int[])[1]) as attempt, u.started, u.ended, u.delay, u.due, u.detail, u.outcome, u.place
    from unnest(%(runs)s::bigint[], %(generations)s::int[], %(names)s::text[], %(seqs)s::int[], %(kinds)s::text[],
                %(states)s::text[], %(attempts)s::int[], %(started)s::float8[], %(ended)s::float8[], %(delays)s::float8[],
                %(dues)s::float8[], %(details)s::text[], %(outcomes)s::text[]) with ordinality
         as u(run, generation, name, seq, kind, state, attempt, started, ended, delay, due, detail, outcome, place)
), fenced as materialized (
    select j.id, j.generation from perdure.job j where j.id = any(%(runs)s::bigint[]) order by j.id for share
), written as (
    insert into perdure.step as s (run, name, seq, kind, state, attempt, started_at, ended_at, due_at, detail, outcome)
    select t.run, t.name, t.seq, t.kind, t.state, t.attempt, to_timestamp(t.started), to_timestamp(t.ended),
           case when t.due is not null then to_timestamp(t.due)
                when t.delay is not null then clock_timestamp() + t.delay * interval '1 second'
                     + (select r.skew from perdure.run r where r.job = t.run) end,
           t.detail, t.outcome::json
    from t join fenced f on f.id = t.run and f.generation = t.generation
    on conflict (run, name) do update
    set seq = excluded.seq, state = excluded.state, attempt = excluded.attempt, started_at = coalesce(s.started_at, excluded.started_at),
        ended_at = excluded.ended_at, due_at = excluded.due_at, detail = coalesce(excluded.detail, s.detail), outcome = excluded.outcome
    where s.ended_at is null
    returning s.run, s.name, s.due_at
)
select t.place, f.id is not null as fenced, extract(epoch from w.due_at)::float8 as due_at,
       exists (select from perdure.nudge n where n.id = t.run) as asked
from t
left join fenced f on f.id = t.run and f.generation = t.generation
left join written w on w.run = t.run and w.name = t.name
where f.id is null or w.due_at is not null or exists (select from perdure.nudge n where n.id = t.run)
