-- Does: gives the transaction that sends it an id, and a snapshot if it is repeatable read, to hold on to.
-- Locks: none.
-- Index: none.
-- Bound: one row.
select pg_current_xact_id()::text as xid
