-- How is this server set up, and who are we on it?
-- Reads: settings, and this session.
-- Then: fsync, full_page_writes and synchronous_commit belong on; the role needs no superuser.
select current_setting('server_version') as version, current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes, current_setting('synchronous_commit') as synchronous_commit,
       current_setting('max_connections')::int as max_connections, current_setting('autovacuum') as autovacuum,
       current_user::text as role, current_setting('is_superuser') = 'on' as superuser,
       coalesce((select s.ssl from pg_stat_ssl s where s.pid = pg_backend_pid()), false) as tls,
       coalesce(inet_client_addr() << '127.0.0.0/8'::inet or inet_client_addr() = '::1'::inet, true) as local;
