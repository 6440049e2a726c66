-- Does: drops the day partitions of history and the attempt log that are past their keeping.
-- Locks: access exclusive on history and attempt, for a moment; run under a short lock_timeout.
-- Index: none; the catalogue.
-- Bound: the partitions past their keeping.
select perdure.drop_days(%(days)s::int) as days
