-- Does: lets a run begin anew: other arguments, nothing recorded, the inbox kept.
-- Locks: the run's row and its steps'; the job's row is locked by whoever has just settled it.
-- Index: run by job; step by run; job by id.
-- Bound: one run: run_steps_max steps.
with again as (
    update perdure.run set round = round + 1 where job = %(run)s::bigint returning job
), gone as (
    delete from perdure.step s using again a where s.run = %(run)s::bigint
)
update perdure.job j set payload = %(payload)s::text::json from again a where j.id = %(run)s::bigint
