-- Does: how many workers' runs ended uncleanly within the window and are not excused, and when the last of them did.
-- Locks: none.
-- Index: worker_ended.
-- Bound: the workers that ended within the window.
select count(*) as crashes, max(u.ended_at) as last_at,
       coalesce((array_agg(u.name || ': ' || coalesce(u.cause, 'it fell silent') order by u.ended_at desc, u.id desc))[1:5], '{}') as named
from perdure.worker u
where u.state in ('dead', 'left') and u.ended_at > clock_timestamp() - %(window)s::float8 * interval '1 second'
  and (u.state = 'dead' or u.cause is not null) and not u.excused
