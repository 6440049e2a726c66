-- Does: keeps what is to be enqueued when these jobs end, in the transaction that writes them.
-- Locks: none.
-- Index: none.
-- Bound: the rows given.
insert into perdure.follow_up (job, number, cause, spec)
select t.job, t.number, t.cause, t.spec::json
from unnest(%(jobs)s::bigint[], %(numbers)s::int[], %(causes)s::text[], %(specs)s::text[]) as t(job, number, cause, spec)
returning job
