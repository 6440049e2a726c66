-- Who keeps vacuum from removing dead rows, oldest first?
-- Reads: the sessions of this database, prepared transactions, replication slots.
-- Then: claims stay fast meanwhile, but tables grow. End the oldest as its remedy says; VACUUM alone removes nothing.
select * from (
    select 'session' as kind, a.pid::text as holder, extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds,
           age(coalesce(a.backend_xmin, a.backend_xid)) as transactions,
           coalesce(nullif(a.application_name, ''), 'no application name') || ', ' || coalesce(a.state, 'state hidden') as what,
           'end it with pg_terminate_backend(' || a.pid || '), and commit sooner there' as remedy
    from pg_stat_activity a
    where a.datname = current_database() and a.pid <> pg_backend_pid()
      and coalesce(a.backend_xmin, a.backend_xid) is not null
    union all
    select 'prepared transaction', p.gid, extract(epoch from clock_timestamp() - p.prepared)::float8, age(p.transaction),
           'prepared by ' || p.owner, 'commit or roll it back with COMMIT PREPARED or ROLLBACK PREPARED'
    from pg_prepared_xacts p where p.database = current_database()
    union all
    select 'replication slot', s.slot_name, null, age(coalesce(s.xmin, s.catalog_xmin)),
           case when s.active then 'in use' else 'not in use' end,
           'let its reader catch up, or drop it with pg_drop_replication_slot(''' || s.slot_name || ''')'
    from pg_replication_slots s where coalesce(s.xmin, s.catalog_xmin) is not null and not s.active
) h order by seconds desc nulls last, transactions desc;
