-- Does: copies what a run has recorded before a step (all of it without one) to another run.
-- Locks: row exclusive on step.
-- Index: step by run and name.
-- Bound: one run: run_steps_max steps.
insert into perdure.step (run, name, seq, kind, state, attempt, started_at, ended_at, due_at, detail, outcome)
select %(target)s::bigint, s.name, s.seq, s.kind, s.state, s.attempt, s.started_at, s.ended_at, s.due_at, s.detail, s.outcome
from perdure.step s
where s.run = %(run)s::bigint and s.kind <> 'cancel' and s.ended_at is not null
  and s.seq < coalesce((select f.seq from perdure.step f where f.run = %(run)s::bigint and f.name = %(step)s::text), 2147483647)
