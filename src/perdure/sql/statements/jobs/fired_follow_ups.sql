-- Does: forgets follow-ups that have been enqueued, and keeps which jobs they are.
-- Locks: the follow_up rows.
-- Index: follow_up by job and number; followed by job.
-- Bound: the rows given.
with gone as (
    delete from perdure.follow_up f
    using unnest(%(jobs)s::bigint[], %(numbers)s::int[], %(followers)s::bigint[]) as t(job, number, follower)
    where f.job = t.job and f.job = any(%(jobs)s::bigint[]) and f.number = t.number
    returning f.job, f.cause, t.follower
)
insert into perdure.followed (job, follower, cause) select job, follower, cause from gone
on conflict do nothing
returning follower
