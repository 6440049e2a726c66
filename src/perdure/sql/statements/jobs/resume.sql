-- Does: returns a resumed job from held to where it was: scheduled, if it is due later, or ready at a new position.
-- Locks: the held row, skipping a locked one; then the job's.
-- Index: held, pause and job by id.
-- Bound: one job.
with mine as materialized (
    select h.id, h.key = 'scheduled' as was_scheduled from perdure.held h
    where h.id = %(id)s::bigint and h.reason = 'paused' and exists (select from perdure.pause p where p.id = h.id and p.resumed)
    for update skip locked
), gone as (
    delete from perdure.held where id = any(array(select id from mine)) returning id
), body as materialized (
    -- A moment that is nearly here counts as here: nothing may be written behind the front of what is scheduled.
    select j.id, j.run_at, coalesce(m.was_scheduled and j.run_at > clock_timestamp() + interval '2 seconds', false) as later
    from perdure.job j join gone g on g.id = j.id join mine m on m.id = j.id
    where j.id = %(id)s::bigint for update of j
), moved as (
    update perdure.job j set pos = nextval('perdure.pos') from body b where j.id = %(id)s::bigint and not b.later returning j.id, j.lane, j.pos
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
), dues as (
    insert into perdure.scheduled (run_at, id) select run_at, id from body where later
)
select b.id, (select count(*) filter (where perdure.wake(lane / 4096)) from moved) as woken from body b
