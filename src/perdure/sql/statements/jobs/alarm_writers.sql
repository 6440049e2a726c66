-- Does: the transactions, of every session, that hold the lock of a writer on waiting; prepared ones have their own names ('-1/…').
-- Locks: the lock manager's own, for a moment.
-- Index: none; pg_locks.
-- Bound: the locks held in the server.
select distinct l.virtualtransaction as holder
from pg_locks l
where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
  and l.relation = 'perdure.waiting'::regclass
  and l.database = (select oid from pg_database where datname = current_database())
