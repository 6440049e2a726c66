-- Does: for each range of due times (microseconds since 1970), the first waiting row this statement's snapshot can see in it, those being woken included.
-- Locks: none.
-- Index: waiting_due.
-- Bound: one row per range, after the dead entries within it.
select t.n::int as range, (extract(epoch from p.wake_at) * 1000000)::bigint as pos
from unnest(%(lows)s::bigint[], %(highs)s::bigint[]) with ordinality as t(low, high, n)
cross join lateral (
    select s.wake_at from perdure.waiting s
    where s.wake_at > timestamptz 'epoch' + t.low * interval '1 microsecond'
      and s.wake_at <= timestamptz 'epoch' + t.high * interval '1 microsecond'
    order by s.wake_at limit 1
) p
