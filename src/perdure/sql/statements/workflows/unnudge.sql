-- Does: forgets nudges of runs: they have ended, or look up now.
-- Locks: the nudges' rows.
-- Index: nudge by id.
-- Bound: the runs given.
delete from perdure.nudge where id = any(%(runs)s::bigint[])
