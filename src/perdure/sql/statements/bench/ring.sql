-- Does: a plain notify, which the enqueue's wake-up is compared with.
-- Locks: at commit, the one that orders notifies.
-- Index: none.
-- Bound: one notify.
select pg_notify(%(channel)s::text, %(payload)s::text)
