-- Does: takes a snapshot and no transaction id, for a repeatable read transaction to hold on to.
-- Locks: none.
-- Index: none.
-- Bound: one row.
select count(*) as queues from perdure.queue
