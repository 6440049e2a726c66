-- Does: asks runs to end whose row was locked when they were to be asked, and isn't any more; which.
-- Locks: the run rows for update, in ascending id, skipping locked ones; then the pleas' and the requests' rows.
-- Index: whole of plea, which is small; run by job; job, dead, waiting and cancel_request by id.
-- Bound: `limit` pleas.
with found as materialized (
    select no, id, reason from perdure.plea order by no limit %(limit)s::int
), free as materialized (
    select r.job from perdure.run r where r.job = any(array(select id from found)) order by r.job for update skip locked
), gone as (
    delete from perdure.plea p
    where p.no = any(array(select no from found))
      and (p.id in (select job from free) or not exists (select from perdure.run r where r.job = p.id offset 0))
    returning p.id, p.reason
), going as (
    update perdure.run r set paused_at = null where r.job = any(array(select job from free)) and r.paused_at is not null
), nudged as (
    insert into perdure.nudge (id) select f.job from free f where not exists (select from perdure.waiting w where w.id = f.job offset 0)
      and not exists (select from perdure.dead d where d.id = f.job offset 0)
), asked as (
    insert into perdure.cancel_request (id, reason)
    select g.id, min(g.reason) from gone g
    where exists (select from perdure.job j where j.id = g.id offset 0) and not exists (select from perdure.dead d where d.id = g.id offset 0)
    group by g.id order by g.id
    on conflict (id) do nothing
)
select distinct id from gone order by id
