-- Does: lets one worker at a time do a chore: true for whoever gets the lock, which goes with the transaction.
-- Locks: an advisory lock of the transaction, never waited for.
-- Index: none.
-- Bound: one lock.
select pg_try_advisory_xact_lock(hashtext('perdure.chores'), hashtext(%(chore)s::text)) as mine
