-- Does: makes the transaction one that only reads, and bounds its statements.
-- Locks: none.
-- Index: none.
-- Bound: the transaction.
select set_config('transaction_read_only', 'on', true) as read_only,
       set_config('statement_timeout', %(statement_timeout)s::text, true) as statement_timeout
