-- Does: forgets runs that ended long ago, with what they have recorded and what was sent to them.
-- Locks: the rows.
-- Index: run_ended; job by id; step and signal by run.
-- Bound: `limit` runs.
with old as materialized (
    select r.job from perdure.run r
    where r.ended_at < statement_timestamp() - %(days)s::int * interval '1 day'
      and not exists (select from perdure.job j where j.id = r.job offset 0)
    order by r.ended_at limit %(limit)s::int for update skip locked
), steps as (
    delete from perdure.step where run = any(array(select job from old))
), messages as (
    delete from perdure.signal where run = any(array(select job from old))
), runs as (
    delete from perdure.run where job = any(array(select job from old)) returning job
)
select count(*) as pruned from runs
