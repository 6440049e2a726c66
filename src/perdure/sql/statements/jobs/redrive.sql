-- Does: returns dead jobs to ready, at new positions, or spread over scheduled at a rate: new generation, attempts and rescues counted from nought again, older cancel requests forgotten, and whoever does it noted in their context.
-- Locks: the job rows, in ascending id; the dead rows, the requests'.
-- Index: dead, job, run and cancel_request by id.
-- Bound: the ids given; those that aren't dead are left alone, and those of runs, unless `runs` says that theirs are taken back, too. `before`: how many of the same act went before them.
with mine as materialized (
    select j.id from perdure.job j join perdure.dead d on d.id = j.id
    where j.id = any(%(ids)s::bigint[]) and d.id = any(%(ids)s::bigint[])
      and (%(runs)s::boolean or not exists (select from perdure.run r where r.job = j.id offset 0)) order by j.id for update of j
), gone as (
    delete from perdure.dead d where d.id = any(array(select id from mine)) returning d.id
), drawn as materialized (
    select id, nextval('perdure.pos') as pos,
           case when %(rate)s::float8 is not null
                then clock_timestamp() + (%(before)s::int + row_number() over (order by id) - 1) / %(rate)s::float8 * interval '1 second' end as run_at
    from (select id from gone order by id) g
), moved as (
    update perdure.job j
    set generation = j.generation + 1, attempt = 0, rescues = 0, pos = d.pos, run_at = d.run_at,
        context = case when %(by)s::text is null then j.context
                       else (coalesce(j.context::jsonb, '{"v": 1}') || jsonb_build_object('replayed_by', %(by)s::text))::json end
    from drawn d where j.id = d.id and j.id = any(array(select id from drawn)) returning j.id, j.lane, j.pos, j.run_at
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved where run_at is null
), later as (
    insert into perdure.scheduled (run_at, id) select run_at, id from moved where run_at is not null
), forgotten as (
    delete from perdure.cancel_request where id in (select id from moved)
)
select array_agg(id order by id) as ids,
       (select count(*) filter (where perdure.wake(queue)) from (select distinct lane / 4096 as queue from moved) s) as woken
from moved
