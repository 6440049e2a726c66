-- Does: lets jobs that wait in line for room in a queue into ready, as many as it has room for, in order of their id; all, when it has no bound any more.
-- Locks: the scheduled rows, skipping locked ones; then the job rows, in ascending id.
-- Index: scheduled (run_at, id), the queue's own moment; job by id.
-- Bound: `limit` rows.
with next as materialized (
    select s.ctid as place from perdure.scheduled s
    where s.run_at = perdure.line(%(queue)s::int)
    order by s.id limit (select least(a.space, %(limit)s::int) from perdure.admit(%(queue)s::int, 1) a)
    for update skip locked
), gone as (
    delete from perdure.scheduled s where s.ctid = any(array(select place from next)) returning s.id
), bodies as materialized (
    select j.id from perdure.job j where j.id = any(array(select id from gone)) order by j.id for update
), drawn as materialized (
    select id, nextval('perdure.pos') as pos from bodies
), moved as (
    update perdure.job j set pos = d.pos, run_at = case when j.attempt > 0 then clock_timestamp() end
    from drawn d where j.id = d.id and j.id = any(array(select id from drawn)) returning j.lane, j.pos, j.id
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
)
select (select count(*) from moved) as advanced,
       exists (select from moved) and perdure.wake(%(queue)s::int) as woken
