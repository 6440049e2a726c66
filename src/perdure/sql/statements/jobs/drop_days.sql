-- Does: drops day partitions of history, or of the attempt log, that are past their keeping: by when jobs finished, or attempts ended.
-- Locks: access exclusive on the table, for a moment; one table in a transaction, because readers lock both; run under a short lock_timeout.
-- Index: none; the catalogue.
-- Bound: `limit` partitions.
select perdure.drop_parts(%(parent)s::text, %(days)s::int, %(limit)s::int) as days
