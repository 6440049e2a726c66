-- Does: drops what a run has recorded from a step on, or (`failed`) only what failed or was cancelled from there on.
-- Locks: the step rows.
-- Index: step by run and name.
-- Bound: one run: run_steps_max steps.
delete from perdure.step s
where s.run = %(run)s::bigint
  and s.seq >= (select f.seq from perdure.step f where f.run = %(run)s::bigint and f.name = %(step)s::text)
  and (not %(failed)s::boolean or s.state in ('failed', 'cancelled'))
returning s.name
