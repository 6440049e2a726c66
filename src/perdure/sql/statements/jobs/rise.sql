-- Does: declares this session awake again, on every queue, however often it said it was asleep.
-- Locks: releases the advisory locks of the session, which has no others.
-- Index: none.
-- Bound: the session.
select 0 as left_up from pg_advisory_unlock_all()
