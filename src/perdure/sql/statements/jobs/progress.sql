-- Does: what one job last reported, its rate in this run, and how long ago it last advanced, by its reports or its checkpoints.
-- Locks: none.
-- Index: progress and checkpoint by job.
-- Bound: one job.
select p.n, p.total, p.message, p.reported_at, c.saved_at,
       case when p.reported_at > p.began_at
            then (p.n - p.began_n) / extract(epoch from p.reported_at - p.began_at)::float8 end as rate,
       extract(epoch from clock_timestamp() - greatest(p.advanced_at, c.advanced_at))::float8 as still_seconds
from (select %(id)s::bigint as id) asked
left join perdure.progress p on p.job = asked.id
left join perdure.checkpoint c on c.job = asked.id
