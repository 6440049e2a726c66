-- How does this server deal with waits for locks?
-- Reads: settings, and what the server has counted in this database.
-- Then: deadlock_timeout belongs between 500 ms and 10 s, log_lock_waits on; deadlocks that grow want one order of locks.
select (select s.setting::int from pg_settings s where s.name = 'deadlock_timeout') as deadlock_ms,
       current_setting('log_lock_waits') as log_lock_waits,
       (select s.reset_val::bigint from pg_settings s where s.name = 'lock_timeout') as lock_ms,
       (select s.reset_val::bigint from pg_settings s where s.name = 'statement_timeout') as statement_ms,
       (select d.deadlocks from pg_stat_database d where d.datname = current_database())::bigint as deadlocks,
       (select d.stats_reset from pg_stat_database d where d.datname = current_database())::text as since;
