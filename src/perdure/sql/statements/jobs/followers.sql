-- Does: the jobs that were enqueued because one has completed; whether some are still to be, and why one can't be.
-- Locks: none.
-- Index: followed and follow_up by job.
-- Bound: one job's follow-ups.
select coalesce((select array_agg(follower order by follower) from perdure.followed
                 where job = %(id)s::bigint and cause = 'success'), '{}') as followers,
       exists (select from perdure.follow_up where job = %(id)s::bigint and cause = 'success' and problem is null) as pending,
       (select problem from perdure.follow_up where job = %(id)s::bigint and cause = 'success' and problem is not null limit 1) as problem
