-- Does: takes back jobs that this transaction has enqueued, with their keys.
-- Locks: none that this transaction doesn't hold.
-- Index: ready (lane, pos); scheduled (run_at, id); job by id; unique_key by id.
-- Bound: the ids given.
with gone as (
    delete from perdure.job j where j.id = any(%(ids)s::bigint[]) returning j.id, j.lane, j.pos, j.run_at
), seats as (
    delete from perdure.ready r using gone g where r.lane = g.lane and r.pos = g.pos
), later as (
    delete from perdure.scheduled s using gone g where s.run_at = g.run_at and s.id = g.id
), keys as (
    delete from perdure.unique_key u using gone g where u.id = g.id
)
select id from gone
