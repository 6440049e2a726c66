-- Does: for each range of due times (microseconds since 1970), the first scheduled row this statement's snapshot can see in it, those being promoted included.
-- Locks: none.
-- Index: scheduled (run_at, id).
-- Bound: one row per range, after the dead entries within it.
select t.n::int as range, (extract(epoch from p.run_at) * 1000000)::bigint as pos
from unnest(%(lows)s::bigint[], %(highs)s::bigint[]) with ordinality as t(low, high, n)
cross join lateral (
    select s.run_at from perdure.scheduled s
    where s.run_at > timestamptz 'epoch' + t.low * interval '1 microsecond'
      and s.run_at <= timestamptz 'epoch' + t.high * interval '1 microsecond'
    order by s.run_at limit 1
) p
