-- Does: takes the jobs of one lease whose worker isn't alive out of it: back to ready at once the first time, later after a growing delay, to the dead when rescued too often or when they must not run twice.
-- Locks: the lease row, skipping a locked one; the job rows in ascending id, skipping locked ones (the lease row stays until none of its jobs is left).
-- Index: lease by worker; job by id.
-- Bound: one lease: claim_batch_max jobs.
with lost as materialized (
    select l.id, l.worker, l.jobs, l.generations from perdure.lease l
    where not exists (select from perdure.worker w where w.id = l.worker and w.state in ('alive', 'draining'))
      and l.id > %(after)s::bigint
    order by l.id limit 1 for update of l skip locked
), listed as materialized (
    select lost.id as lease, lost.worker, t.id, t.generation
    from lost cross join lateral unnest(lost.jobs, lost.generations) as t(id, generation)
), mine as materialized (
    select j.id, listed.lease, listed.worker, nextval('perdure.pos') as pos
    from perdure.job j join listed on listed.id = j.id and listed.generation = j.generation
    where j.id = any(array(select id from listed))
    order by j.id for update of j skip locked
), moved as (
    update perdure.job j
    set generation = j.generation + 1, rescues = j.rescues + 1, pos = mine.pos,
        run_at = case when j.rescues > 0
                      then clock_timestamp() + least(power(2, j.rescues - 1), %(delay_cap)s::float8) * interval '1 second' end
    from mine where j.id = mine.id
    returning j.id, j.lane, j.pos, j.run_at, j.rescues, j.generation, j.attempt, j.task, j.options, mine.lease, mine.worker
), judged as materialized (
    select m.*, case when (m.options ->> 'at_most_once')::boolean then 'needs_review'
                     when m.rescues >= %(rescues_max)s::int then 'worker_lost' end as verdict
    from moved m
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from judged where verdict is null and run_at is null
), later as (
    insert into perdure.scheduled (run_at, id) select run_at, id from judged where verdict is null and run_at is not null
), buried as (
    insert into perdure.dead (id, reason, error, died_at)
    select id, verdict, 'the worker that held it was lost (rescue ' || rescues || ')', statement_timestamp()
    from judged where verdict is not null
), logged as (
    insert into perdure.attempt (job, ended_at, worker, lease, generation, attempt, ending, error)
    select id, statement_timestamp(), worker, lease, generation - 1, attempt, 'rescued', verdict from judged
)
select (select id from lost) as lease, (select worker from lost) as worker,
       (select count(*) from judged) as rescued, (select count(*) from judged where verdict is not null) as buried,
       (select count(*) filter (where perdure.wake(queue)) from
           (select distinct lane / 4096 as queue from judged where verdict is null) s) as woken
