-- Does: which server this is, and whether its commits are promises.
-- Locks: none.
-- Index: none.
-- Bound: one row.
select current_setting('server_version') as version, current_setting('fsync') as fsync,
       current_setting('synchronous_commit') as synchronous_commit
