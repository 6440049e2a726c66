-- Does: declares this session asleep on queues: writers of ready that come after it will notify. Says where it couldn't, because a writer looks for sleepers at this moment.
-- Locks: one shared advisory lock per queue, of the session, never waited for.
-- Index: none.
-- Bound: the queues given.
select coalesce(array_agg(q) filter (where not pg_try_advisory_lock_shared(hashtext('perdure.sleepers'), q)), '{}') as missed
from unnest(%(queues)s::int[]) as q
