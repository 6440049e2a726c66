-- What has this system met, that says which of Perdure's promises it needs?
-- Reads: job and the attempt log from end to end, the last day of history, the workers.
-- Then: perdure doctor --stage says what follows from it.
select (select count(*) from perdure.job) as live,
       (select count(*) from perdure.attempt where ending in ('retry', 'dead')) as failures,
       (select count(*) from perdure.attempt where ending = 'rescued') as rescued,
       (select count(*) from perdure.worker where state = 'alive' and expires_at > clock_timestamp()) as workers,
       (select count(*) from perdure.worker where started_at > clock_timestamp() - interval '1 day') as started_today,
       (select count(*) from perdure.job where key is not null) as keyed,
       (select coalesce(max(n), 0) from (select count(*) as n from perdure.job where key is not null group by key) k) as hottest,
       (select coalesce(max(extract(epoch from finished_at - started_at)), 0)::float8 from perdure.history
        where finished_at > clock_timestamp() - interval '1 day') as longest_seconds,
       (select coalesce(max(extract(epoch from clock_timestamp() - j.created_at)), 0)::float8
        from (select min(id) as id from perdure.ready group by lane) r join perdure.job j on j.id = r.id) as oldest_seconds,
       (select count(distinct task) from perdure.job) as tasks,
       (select count(*) from perdure.attempt where ending = 'returned') as returned;
