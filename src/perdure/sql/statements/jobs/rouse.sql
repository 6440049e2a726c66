-- Does: moves jobs from waiting to ready whose moment has come, at new positions, in order of that moment.
-- Locks: the waiting rows, skipping locked ones; then the job rows, in ascending id.
-- Index: waiting_due, from its floor to now; job by id.
-- Bound: `limit` rows.
with due as materialized (
    select wake_at, id from perdure.waiting
    where wake_at > timestamptz 'epoch' + %(floor)s::bigint * interval '1 microsecond' and wake_at <= statement_timestamp()
    order by wake_at, id limit %(limit)s::int for update skip locked
), gone as (
    delete from perdure.waiting where id = any(array(select id from due)) returning wake_at, id
), bodies as materialized (
    select j.id, g.wake_at from perdure.job j join gone g on g.id = j.id
    where j.id = any(array(select id from gone)) order by j.id for update of j
), drawn as materialized (
    select id, nextval('perdure.pos') as pos from (select id from bodies order by wake_at, id) b
), moved as (
    update perdure.job j set pos = d.pos from drawn d where j.id = d.id and j.id = any(array(select id from drawn)) returning j.lane, j.pos, j.id
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
)
select (select count(*) from gone) as taken,
       (select count(*) filter (where perdure.wake(queue)) from (select distinct lane / 4096 as queue from moved) s) as woken
