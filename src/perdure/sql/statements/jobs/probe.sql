-- Does: for each range of positions, the lowest row this statement's snapshot can see in it, claimed-but-uncommitted ones included.
-- Locks: none.
-- Index: ready (lane, pos).
-- Bound: one row per range, after the dead entries within it.
select t.n::int as range, p.pos
from unnest(%(lanes)s::int[], %(lows)s::bigint[], %(highs)s::bigint[]) with ordinality as t(lane, low, high, n)
cross join lateral (
    select r.pos from perdure.ready r where r.lane = t.lane and r.pos > t.low and r.pos <= t.high order by r.pos limit 1
) p
