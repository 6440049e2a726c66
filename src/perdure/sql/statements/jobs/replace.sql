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
    delete from perdure.ready x where x.ctid = any(array(
        select y.ctid from perdure.ready y
        where y.lane = (select lane from body) and y.pos = (select pos from body) and exists (select from place)
        for update skip locked)) returning x.id
), s as (
    delete from perdure.scheduled x where x.ctid = any(array(
        select y.ctid from perdure.scheduled y
        where y.run_at = (select run_at from body) and y.id = %(id)s::bigint and exists (select from place)
        for update skip locked)) returning x.id
), h as (
    delete from perdure.held x where x.id = any(array(
        select y.id from perdure.held y
        where y.id = (select id from body) and exists (select from place) for update skip locked)) returning x.id
), moved as (
    update perdure.job j
    set pos = nextval('perdure.pos'), run_at = case when p.due > clock_timestamp() then p.due end,
        expires_at = coalesce(%(expires_at)s::timestamptz, clock_timestamp() + %(expires_in)s::float8 * interval '1 second'),
        lane = p.queue * 4096 + coalesce(%(priority)s::int, 5), attempt = 0, rescues = 0, key = %(key)s::text,
        tags = %(tags)s::text[], options = %(options)s::text::json, context = %(context)s::text::json,
        payload = %(payload)s::text::json
    from place p, (select id from r union all select id from s union all select id from h) w
    where j.id = w.id and j.id = %(id)s::bigint
    returning j.id, j.lane, j.pos, j.run_at
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved where run_at is null
), later as (
    insert into perdure.scheduled (run_at, id) select run_at, id from moved where run_at is not null
), forgotten as (
    delete from perdure.checkpoint c using moved m where c.job = m.id and c.job = %(id)s::bigint
), silenced as (
    delete from perdure.progress p using moved m where p.job = m.id and p.job = %(id)s::bigint
), renewed as (
    update perdure.unique_key u
    set payload = case when %(lifetime)s::float8 is not null then hashtextextended(%(payload)s::text::jsonb::text, 0) end,
        until = %(until)s::text,
        expires_at = clock_timestamp() + %(lifetime)s::float8 * interval '1 second'
    from moved m where u.id = m.id and u.id = %(id)s::bigint
)
select id, %(wake)s::boolean and coalesce(run_at < clock_timestamp() + interval '2 seconds', true)
           and perdure.wake(lane / 4096) as woken
from moved
