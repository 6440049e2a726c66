-- Does: declares this session asleep on queues: writers of ready that come after it will notify.
-- Locks: one shared advisory lock per queue, of the session; a writer holds it exclusively for a moment only.
-- Index: none.
-- Bound: the queues given.
select count(pg_advisory_lock_shared(hashtext('perdure.sleepers'), q)) as queues from unnest(%(queues)s::int[]) as q
