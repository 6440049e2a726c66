-- Does: takes the jobs of one lease whose worker isn't alive out of it. Those that may have been started (the first slots + unsettled of the lease, as its worker promised) come back as suspects: at once the first time, later after a growing delay; the others as they were. To the dead go those rescued too often, and suspects that must not run twice.
-- Locks: the lease row, skipping a locked one; the job rows in ascending id, skipping locked ones (the lease row stays until none of its jobs is left).
-- Index: lease by worker; job by id; worker by id.
-- Bound: one lease: claim_batch_max jobs.
with lost as materialized (
    select l.id, l.worker, l.jobs, l.generations, w.slots + w.unsettled as startable
    from perdure.lease l left join perdure.worker w on w.id = l.worker
    where not exists (select from perdure.worker a where a.id = l.worker and a.state in ('alive', 'draining'))
      and l.id > %(after)s::bigint
    order by l.id limit 1 for update of l skip locked
), listed as materialized (
    select t.id, t.generation, t.place
    from lost cross join lateral unnest(lost.jobs, lost.generations) with ordinality as t(id, generation, place)
), unsettled as materialized (
    -- Suspects wait for a child apart from the others, so they don't count among them; and they stay what they are.
    select j.id, j.generation, j.rescues > 0 or lost.startable is null
           or row_number() over (partition by j.rescues > 0 order by listed.place) <= lost.startable as suspect
    from lost cross join perdure.job j join listed on listed.id = j.id and listed.generation = j.generation
    where j.id = any(array(select id from listed))
), mine as materialized (
    select j.id, u.suspect, nextval('perdure.pos') as pos
    from perdure.job j join unsettled u on u.id = j.id and u.generation = j.generation
    where j.id = any(array(select id from unsettled))
    order by j.id for update of j skip locked
), moved as (
    update perdure.job j
    set generation = j.generation + 1, rescues = j.rescues + mine.suspect::int, pos = mine.pos,
        crashes = case when j.rescues > 0 then j.crashes end,
        run_at = case when j.rescues > 0
                      then clock_timestamp() + least(power(2, j.rescues - 1), %(delay_cap)s::float8) * interval '1 second' end
    from mine where j.id = mine.id and j.id = any(array(select id from mine))
    returning j.id, j.lane, j.pos, j.run_at, j.rescues, j.generation, j.attempt, j.task, j.options, mine.suspect
), judged as materialized (
    select m.*, case when m.suspect and m.options ->> 'at_most_once' = 'true' then 'needs_review'
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
    select j.id, statement_timestamp(), lost.worker, lost.id, j.generation - 1, j.attempt, 'rescued',
           coalesce(j.verdict, case when j.suspect then 'suspect' end)
    from judged j cross join lost
)
select (select id from lost) as lease, (select worker from lost) as worker,
       (select count(*) from judged) as rescued, (select count(*) from judged where verdict is not null) as buried,
       (select count(*) from judged where suspect and verdict is null) as suspects,
       (select count(*) filter (where perdure.wake(queue)) from
           (select distinct lane / 4096 as queue from judged where verdict is null) s) as woken
