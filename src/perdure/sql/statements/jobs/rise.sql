-- Does: declares this session awake on queues again.
-- Locks: releases its shared advisory locks.
-- Index: none.
-- Bound: the queues given.
select count(pg_advisory_unlock_shared(hashtext('perdure.sleepers'), q)) as queues from unnest(%(queues)s::int[]) as q
