-- Does: forgets follow-ups: those that have been enqueued, by number, and those that wait for an end their job won't have.
-- Locks: the rows.
-- Index: follow_up by job.
-- Bound: the ids given.
delete from perdure.follow_up f
using unnest(%(jobs)s::bigint[], %(numbers)s::int[], %(causes)s::text[]) as t(job, number, cause)
where f.job = t.job and f.job = any(%(jobs)s::bigint[]) and (f.number = t.number or f.cause = t.cause)
returning f.job
