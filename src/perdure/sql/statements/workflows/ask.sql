-- Does: asks runs that live to end, and for that lets those go on that are paused, and nudges those that don't wait, for some may be parked; those whose row is locked, perhaps by a transaction that asks the same, are left to the sweep. Which were asked.
-- Locks: the run rows for update, in ascending id, skipping locked ones; so the requests' rows are nobody's.
-- Index: run by job; job, dead, waiting and cancel_request by id.
-- Bound: the ids given.
with live as materialized (
    select j.id from perdure.job j
    where j.id = any(%(ids)s::bigint[]) and not exists (select from perdure.dead d where d.id = j.id offset 0)
), free as materialized (
    select r.job from perdure.run r where r.job = any(array(select id from live)) order by r.job for update skip locked
), asked as (
    insert into perdure.cancel_request (id, reason) select job, %(reason)s::text from free on conflict (id) do nothing
), going as (
    update perdure.run r set paused_at = null where r.job = any(array(select job from free)) and r.paused_at is not null
), nudged as (
    insert into perdure.nudge (id) select f.job from free f where not exists (select from perdure.waiting w where w.id = f.job offset 0)
), put_off as (
    insert into perdure.plea (id, reason) select id, %(reason)s::text from live where id not in (select job from free)
)
select job, pg_notify('perdure', 'cancel')::text as hurried from free
