-- Does: gives a job that waits (ready, scheduled, held) other arguments and options, at a new position, its attempts counted anew and its checkpoint forgotten; and its unique key their hash and a new lifetime. Leaves a job alone that stands anywhere else, or is being taken, or whose queue has no row yet, or is guarded and hasn't admitted it.
-- Locks: the row of its place, skipping a locked one; then the job row, then the key and the rows of the side tables.
-- Index: ready (lane, pos); scheduled (run_at, id); held and job by id; unique_key by id; checkpoint and progress by job; queue by name.
-- Bound: one job.
with body as materialized (
    select * from perdure.job where id = %(id)s::bigint
), place as materialized (
    select q.id as queue, coalesce(%(run_at)s::timestamptz, clock_timestamp() + %(delay)s::float8 * interval '1 second') as due
    from perdure.queue q where q.name = %(queue)s::text and (%(admitted)s::boolean or not q.guarded)
), r as (
    delete from perdure.ready x using (
        select y.lane, y.pos from perdure.ready y join body c on y.lane = c.lane and y.pos = c.pos
        where exists (select from place) for update of y skip locked) l
    where x.lane = l.lane and x.pos = l.pos returning x.id
), s as (
    delete from perdure.scheduled x using (
        select y.run_at, y.id from perdure.scheduled y join body c on y.run_at = c.run_at and y.id = c.id
        where exists (select from place) for update of y skip locked) l
    where x.run_at = l.run_at and x.id = l.id returning x.id
), h as (
    delete from perdure.held x using (
        select y.id from perdure.held y join body c on y.id = c.id where exists (select from place) for update of y skip locked) l
    where x.id = l.id returning x.id
), moved as (
    update perdure.job j
    set pos = nextval('perdure.pos'), run_at = case when p.due > clock_timestamp() then p.due end,
        expires_at = coalesce(%(expires_at)s::timestamptz, clock_timestamp() + %(expires_in)s::float8 * interval '1 second'),
        lane = p.queue * 4096 + coalesce(%(priority)s::int, 5), attempt = 0, rescues = 0, key = %(key)s::text,
        tags = %(tags)s::text[], options = %(options)s::text::json, context = %(context)s::text::json,
        payload = %(payload)s::text::json
    from place p, (select id from r union all select id from s union all select id from h) w
    where j.id = w.id
    returning j.id, j.lane, j.pos, j.run_at
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved where run_at is null
), later as (
    insert into perdure.scheduled (run_at, id) select run_at, id from moved where run_at is not null
), forgotten as (
    delete from perdure.checkpoint c using moved m where c.job = m.id
), silenced as (
    delete from perdure.progress p using moved m where p.job = m.id
), renewed as (
    update perdure.unique_key u
    set payload = case when %(lifetime)s::float8 is not null then hashtextextended(%(payload)s::text::jsonb::text, 0) end,
        until = %(until)s::text,
        expires_at = clock_timestamp() + %(lifetime)s::float8 * interval '1 second'
    from moved m where u.id = m.id
)
select id, %(wake)s::boolean and coalesce(run_at < clock_timestamp() + interval '2 seconds', true)
           and perdure.wake(lane / 4096) as woken
from moved
