-- What has this database counted: arrivals, deadlocks, jobs held by workers that are gone?
-- Reads: the statistics of the database; the sequence of positions; the leases of workers that aren't trusted.
-- Then: deadlocks that rise are a bug of somebody's, and Postgres logs the statements; lost jobs are in leases.lost.
select (select coalesce(s.last_value, 0) from pg_sequences s
        where s.schemaname = 'perdure' and s.sequencename = 'pos') as arrivals,
       (select d.deadlocks from pg_stat_database d where d.datname = current_database()) as deadlocks,
       (select count(*) from perdure.lease l
        left join perdure.worker w on w.id = l.worker
        cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
        join perdure.job j on j.id = t.id and j.generation = t.generation
        where w.id is null or w.state not in ('alive', 'draining') or w.expires_at < clock_timestamp()) as lost_jobs;
