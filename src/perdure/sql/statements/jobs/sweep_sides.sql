-- Does: forgets checkpoints and reports of progress whose job is gone (ended by an older worker, or by SQL alone), and which job followed which, as old as history is kept.
-- Locks: the rows.
-- Index: checkpoint, progress and followed whole, few rows beside job; job by id.
-- Bound: `limit` rows of each.
with saved as (
    delete from perdure.checkpoint where job in (
        select c.job from perdure.checkpoint c
        where not exists (select from perdure.job j where j.id = c.job) order by c.job limit %(limit)s::int)
    returning job
), reported as (
    delete from perdure.progress where job in (
        select p.job from perdure.progress p
        where not exists (select from perdure.job j where j.id = p.job) order by p.job limit %(limit)s::int)
    returning job
), followed as (
    delete from perdure.followed where (job, follower) in (
        select f.job, f.follower from perdure.followed f
        where f.at < statement_timestamp() - %(days)s::int * interval '1 day' limit %(limit)s::int)
    returning job
)
select greatest((select count(*) from saved), (select count(*) from reported), (select count(*) from followed)) as forgotten
