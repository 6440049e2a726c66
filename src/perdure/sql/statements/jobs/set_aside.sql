-- Does: moves jobs that stand in ready or scheduled and are paused to held; its key says from where.
-- Locks: the pause's row for share, and the rows of their places, all of them skipping locked ones: whoever is just resuming the job holds the first. The job rows are locked beforehand (jobs.unseat), so that nobody moves them meanwhile.
-- Index: job and pause by id; ready (lane, pos); scheduled (run_at, id).
-- Bound: one job.
with wished as materialized (
    select p.id from perdure.pause p where p.id = %(id)s::bigint and not p.resumed for share skip locked
), body as materialized (
    select j.id, j.lane, j.pos, j.run_at from perdure.job j join wished w on w.id = j.id where j.id = %(id)s::bigint
), r as (
    delete from perdure.ready x where x.ctid = any(array(
        select y.ctid from perdure.ready y
        where y.lane = (select lane from body) and y.pos = (select pos from body) for update skip locked)) returning x.id
), s as (
    delete from perdure.scheduled x where x.ctid = any(array(
        select y.ctid from perdure.scheduled y
        where y.run_at = (select run_at from body) and y.id = (select id from body) for update skip locked)) returning x.id
)
insert into perdure.held (id, reason, key, held_at)
select id, 'paused', place, statement_timestamp()
from (select id, 'ready' as place from r union all select id, 'scheduled' from s) p
returning id
