-- Does: forgets checkpoints and reports of progress whose job is gone (ended by an older worker, or by SQL alone), which job followed which, as old as history is kept, and follow-ups that can't be enqueued and whose job is gone from history, too.
-- Locks: the rows.
-- Index: checkpoint, progress, followed and follow_up whole, few rows beside job; job and history by id.
-- Bound: `limit` rows of each.
with saved as (
    delete from perdure.checkpoint where job = any(array(
        select c.job from perdure.checkpoint c
        where not exists (select from perdure.job j where j.id = c.job offset 0) order by c.job limit %(limit)s::int))
    returning job
), reported as (
    delete from perdure.progress where job = any(array(
        select p.job from perdure.progress p
        where not exists (select from perdure.job j where j.id = p.job offset 0) order by p.job limit %(limit)s::int))
    returning job
), followed as (
    delete from perdure.followed where (job, follower) in (
        select f.job, f.follower from perdure.followed f
        where f.at < statement_timestamp() - %(days)s::int * interval '1 day' limit %(limit)s::int)
    returning job
), broken as (
    delete from perdure.follow_up where (job, number) in (
        select f.job, f.number from perdure.follow_up f
        where f.problem is not null and not exists (select from perdure.job j where j.id = f.job offset 0)
          and not exists (select from perdure.history h where h.id = f.job offset 0) limit %(limit)s::int)
    returning job
)
select greatest((select count(*) from saved), (select count(*) from reported), (select count(*) from followed),
                (select count(*) from broken)) as forgotten
