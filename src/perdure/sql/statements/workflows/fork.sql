-- Does: copies what a run has recorded before a step (all of it without one) to another run, which begins as that one did, and has its dice up to there: whose, and up to which number, is in `detail`.
-- Locks: row exclusive on step.
-- Index: step by run and name; run by job.
-- Bound: one run: run_steps_max steps.
with copied as (
    insert into perdure.step (run, name, seq, kind, state, attempt, started_at, ended_at, due_at, detail, outcome)
    select %(target)s::bigint, s.name, s.seq, s.kind, s.state, s.attempt, s.started_at, s.ended_at, s.due_at, s.detail, s.outcome
    from perdure.step s
    where s.run = %(run)s::bigint and s.name <> '#0' and s.kind <> 'cancel' and s.ended_at is not null
      and s.seq < coalesce((select f.seq from perdure.step f where f.run = %(run)s::bigint and f.name = %(step)s::text), 2147483647)
    returning seq
)
insert into perdure.step (run, name, seq, kind, state, attempt, ended_at, detail, outcome)
select %(target)s::bigint, '#0', 0, 'patch', 'done', 0, coalesce(b.ended_at, r.created_at),
       concat_ws(' ', b.detail, r.job || ':' || r.round || '@' || (select max(c.seq) from copied c)), case when b.run is null then r.attributes else b.outcome end
from perdure.run r left join perdure.step b on b.run = r.job and b.name = '#0'
where r.job = %(run)s::bigint and exists (select from copied)
