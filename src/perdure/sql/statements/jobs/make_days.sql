-- Does: makes the day partitions of history and the attempt log ahead of time.
-- Locks: access exclusive on the default partitions, for a moment; run under a short lock_timeout.
-- Index: none; the catalogue.
-- Bound: `ahead` days.
select perdure.make_days(%(ahead)s::int) as days
