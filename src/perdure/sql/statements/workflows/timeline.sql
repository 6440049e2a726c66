-- Does: what a run has recorded, in order. What has number 0 only counts what a rewind has forgotten.
-- Locks: none.
-- Index: step by run and name.
-- Bound: one run: run_steps_max steps.
select s.name, s.kind, s.state, s.attempt, s.started_at, s.ended_at, s.due_at, s.detail, s.outcome::text as outcome
from perdure.step s where s.run = %(run)s::bigint and s.seq > 0 order by s.seq
