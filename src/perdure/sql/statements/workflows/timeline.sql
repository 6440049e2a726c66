-- Does: what a run has recorded, in order.
-- Locks: none.
-- Index: step by run and name.
-- Bound: one run: run_steps_max steps.
select s.name, s.kind, s.state, s.attempt, s.started_at, s.ended_at, s.due_at, s.detail, s.outcome::text as outcome
from perdure.step s where s.run = %(run)s::bigint order by s.seq
