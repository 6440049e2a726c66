-- Does: marks where an op begins that is to leave nothing behind when it is refused. Needs an open transaction.
-- Locks: none.
-- Index: none.
-- Bound: one savepoint, released or rolled back to by the same op.
savepoint perdure_whole
