-- Does: how a run was started, so that another can be started alike.
-- Locks: none.
-- Index: run by job; job by id; history by id.
-- Bound: one run.
select r.name, r.version, q.name as queue, b.key, mod(mod(b.lane, 4096), 10) as priority, b.tags, b.payload::text as payload,
       r.attributes::text as attributes
from perdure.run r
join lateral (
    select j.lane, j.key, j.tags, j.payload from perdure.job j where j.id = r.job
    union all
    (select h.lane, h.key, h.tags, h.payload from perdure.history h where h.id = r.job order by h.finished_at desc limit 1)
    limit 1
) b on true
join perdure.queue q on q.id = b.lane / 4096
where r.job = %(run)s::bigint
