-- Does: takes the jobs of runs that this transaction has just started out of ready, to be due later: a full queue has put them off, or lets them wait in line.
-- Locks: none that this transaction doesn't hold.
-- Index: job by id; ready (lane, pos).
-- Bound: the ids given.
with late as (
    update perdure.job j
    set run_at = coalesce(t.run_at, clock_timestamp() + t.delay * interval '1 second'), options = t.options::json
    from unnest(%(ids)s::bigint[], %(run_ats)s::timestamptz[], %(delays)s::float8[], %(options)s::text[])
         as t(id, run_at, delay, options)
    where j.id = t.id and j.id = any(%(ids)s::bigint[])
    returning j.id, j.lane, j.pos, j.run_at
), gone as (
    delete from perdure.ready r where r.ctid = any(array(
        select x.place from late l cross join lateral (
            select y.ctid as place from perdure.ready y where y.lane = l.lane and y.pos = l.pos limit 1) x))
)
insert into perdure.scheduled (run_at, id) select run_at, id from late returning id
