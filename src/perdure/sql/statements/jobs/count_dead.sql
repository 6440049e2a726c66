-- Does: how many dead jobs a filter chooses, and how many of these are runs, of how many in all; and the server's clock, so that an act takes none that dies meanwhile.
-- Locks: none.
-- Index: dead whole; job and run by id.
-- Bound: the dead.
select count(*) filter (where c.chosen) as chosen, count(*) filter (where c.chosen and c.run) as runs, count(*) as of, clock_timestamp() as clock
from (
    select coalesce(d.died_at < %(before)s::timestamptz, true) and coalesce(d.died_at >= %(since)s::timestamptz, true)
           and coalesce(j.lane / 4096 = (select q.id from perdure.queue q where q.name = %(queue)s::text), %(queue)s::text is null)
           and coalesce(j.task = %(task)s::text, true) and coalesce(d.reason = %(reason)s::text, true)
           and coalesce(%(tag)s::text = any(j.tags), %(tag)s::text is null)
           and coalesce(position(%(error)s::text in d.error) > 0, %(error)s::text is null) as chosen,
           exists (select from perdure.run r where r.job = d.id offset 0) as run
    from perdure.dead d cross join lateral (select x.* from perdure.job x where x.id = d.id limit 1) j
) c
