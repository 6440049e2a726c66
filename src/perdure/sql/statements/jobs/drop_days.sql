-- Does: drops the day partitions of history, or of the attempt log, that are past their keeping.
-- Locks: access exclusive on the table, for a moment; one table in a transaction, because readers lock both; run under a short lock_timeout.
-- Index: none; the catalogue.
-- Bound: the partitions past their keeping.
select perdure.drop_days(%(days)s::int, array[%(parent)s::text]) as days
