-- Does: lets what a run is to try again be due now. What was hurried.
-- Locks: the step rows; whoever drives the run waits for the lock of its job.
-- Index: step by run and name.
-- Bound: one run: run_steps_max steps.
update perdure.step set due_at = clock_timestamp()
where run = %(run)s::bigint and state = 'retry' and due_at > clock_timestamp() returning name
