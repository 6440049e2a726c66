-- Does: the transactions, of every session, that hold the lock of a writer on ready, prepared ones included.
-- Locks: the lock manager's own, for a moment.
-- Index: none; pg_locks.
-- Bound: the locks held in the server.
select distinct l.virtualtransaction as holder
from pg_locks l
where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
  and l.relation = 'perdure.ready'::regclass
  and l.database = (select oid from pg_database where datname = current_database())
