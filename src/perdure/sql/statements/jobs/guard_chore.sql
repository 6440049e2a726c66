-- Does: lets one worker at a time do a chore: true for whoever gets the lock, which goes with the transaction; and bounds how long that waits for other locks (null: as the session says).
-- Locks: an advisory lock of the transaction, never waited for.
-- Index: none.
-- Bound: one lock.
select pg_try_advisory_xact_lock(hashtext('perdure.chores'), hashtext(%(chore)s::text)) as mine,
       set_config('lock_timeout', coalesce(%(lock_timeout)s::text, current_setting('lock_timeout')), true) as lock_timeout
