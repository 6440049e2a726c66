-- Does: returns one dead job to ready at a new position: new generation, attempts and rescues counted from nought again, an older cancel request forgotten.
-- Locks: the job row (by jobs.unseat before), the dead row, the request's.
-- Index: dead, job and cancel_request by id.
-- Bound: one job.
with gone as (
    delete from perdure.dead where id = %(id)s::bigint returning id
), moved as (
    update perdure.job j set generation = j.generation + 1, attempt = 0, rescues = 0, pos = nextval('perdure.pos')
    from gone where j.id = gone.id returning j.id, j.lane, j.pos
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
), forgotten as (
    delete from perdure.cancel_request where id in (select id from moved)
)
select id, perdure.wake(lane / 4096) as woken from moved
