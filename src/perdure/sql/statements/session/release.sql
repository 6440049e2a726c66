-- Does: forgets the mark of an op that has been done.
-- Locks: none; those that were taken since stay.
-- Index: none.
-- Bound: one savepoint.
release savepoint perdure_whole
