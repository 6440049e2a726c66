-- Does: moves due jobs from scheduled to ready, at new positions, in order of their due time; of a queue that is full, those that find no room go into its line, to wait for it.
-- Locks: the scheduled rows, skipping locked ones; then the job rows, in ascending id.
-- Index: scheduled (run_at, id), from its floor to now; job by id.
-- Bound: `limit` rows.
with due as materialized (
    select ctid as place from perdure.scheduled
    where run_at > timestamptz 'epoch' + %(floor)s::bigint * interval '1 microsecond' and run_at <= statement_timestamp()
    order by run_at, id limit %(limit)s::int for update skip locked
), gone as (
    delete from perdure.scheduled s where s.ctid = any(array(select place from due)) returning s.run_at, s.id
), bodies as materialized (
    select j.id, j.lane / 4096 as queue, g.run_at from perdure.job j join gone g on g.id = j.id
    where j.id = any(array(select id from gone)) order by j.id for update of j
), rooms as materialized (
    select q.id as queue, a.room from perdure.queue q cross join lateral perdure.admit(q.id, 1) a
    where q.guarded and q.id = any(array(select queue from bodies))
), ranked as materialized (
    select b.id, b.queue, b.run_at, row_number() over (partition by b.queue order by b.run_at, b.id) <= r.room is false as lined
    from bodies b left join rooms r on r.queue = b.queue
), drawn as materialized (
    select id, nextval('perdure.pos') as pos from (select id from ranked where not lined order by run_at, id) b
), moved as (
    update perdure.job j set pos = d.pos from drawn d where j.id = d.id and j.id = any(array(select id from drawn)) returning j.lane, j.pos, j.id
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
), waiting as (
    update perdure.job j set run_at = perdure.line(r.queue) from ranked r
    where j.id = r.id and r.lined and j.id = any(array(select id from ranked where lined)) returning j.run_at, j.id
), line as (
    insert into perdure.scheduled (run_at, id) select run_at, id from waiting
)
select (select count(*) from moved) as promoted, (select count(*) from gone) as taken,
       (select count(*) filter (where perdure.wake(queue)) from (select distinct lane / 4096 as queue from moved) s) as woken
