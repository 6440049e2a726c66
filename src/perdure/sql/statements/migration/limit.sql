-- Does: bounds how long this transaction waits for a lock, and lets its statements take their time.
-- Locks: none.
-- Index: none.
-- Bound: this transaction.
select set_config('lock_timeout', %(lock_timeout)s::text, true), set_config('statement_timeout', '0', true);
