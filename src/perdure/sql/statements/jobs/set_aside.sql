-- Does: moves jobs that stand in ready or scheduled and are paused to held; its key says from where.
-- Locks: the rows of their places, skipping locked ones; the job rows are locked beforehand (jobs.unseat), so that nobody moves them meanwhile.
-- Index: job and pause by id; ready (lane, pos); scheduled (run_at, id).
-- Bound: one job.
with body as materialized (
    select j.id, j.lane, j.pos, j.run_at from perdure.job j
    where j.id = %(id)s::bigint and exists (select from perdure.pause p where p.id = j.id and not p.resumed)
), r as (
    delete from perdure.ready x using body b, (
        select y.lane, y.pos from perdure.ready y join body c on y.lane = c.lane and y.pos = c.pos for update of y skip locked) l
    where x.lane = l.lane and x.pos = l.pos returning x.id
), s as (
    delete from perdure.scheduled x using (
        select y.run_at, y.id from perdure.scheduled y join body c on y.run_at = c.run_at and y.id = c.id for update of y skip locked) l
    where x.run_at = l.run_at and x.id = l.id returning x.id
)
insert into perdure.held (id, reason, key, held_at)
select id, 'paused', place, statement_timestamp()
from (select id, 'ready' as place from r union all select id, 'scheduled' from s) p
returning id
