-- Does: makes the day partitions of history, or of the attempt log, ahead of time.
-- Locks: access exclusive on the table and its default partition, for a moment; one table in a transaction, because readers lock both; run under a short lock_timeout.
-- Index: none; the catalogue.
-- Bound: `ahead` days.
select perdure.make_days(%(ahead)s::int, array[%(parent)s::text]) as days
