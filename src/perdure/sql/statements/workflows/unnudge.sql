-- Does: forgets nudges of runs that have ended.
-- Locks: the nudges' rows.
-- Index: nudge by id.
-- Bound: the ids given.
delete from perdure.nudge where id = any(%(ids)s::bigint[])
