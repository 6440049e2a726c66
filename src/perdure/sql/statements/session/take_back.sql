-- Does: takes back what this transaction has written since the mark, and lets go of the locks that it took for that.
-- Locks: none.
-- Index: none.
-- Bound: one savepoint, which stays.
rollback to savepoint perdure_whole
