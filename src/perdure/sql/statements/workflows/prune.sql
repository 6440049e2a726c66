-- Does: forgets runs that ended long ago, with what they have recorded and what was sent to them; not those that a run has started which is kept, and may ask for them still.
-- Locks: the rows.
-- Index: run_ended; job by id; step and signal by run.
-- Bound: `limit` runs, and those that are passed over for their parents' sake: of each, no more than it has steps.
with old as materialized (
    select r.job from perdure.run r
    where r.ended_at < statement_timestamp() - %(days)s::int * interval '1 day'
      and not exists (select from perdure.job j where j.id = r.job offset 0)
      and not exists (select from perdure.step s
                      where s.run = r.parent and s.name = 'child ' || r.id and split_part(s.detail, ' ', 1) = r.job::text offset 0)
    order by r.ended_at limit %(limit)s::int for update skip locked
), steps as (
    delete from perdure.step where run = any(array(select job from old))
), messages as (
    delete from perdure.signal where run = any(array(select job from old))
), runs as (
    delete from perdure.run where job = any(array(select job from old)) returning job
)
select count(*) as pruned from runs
