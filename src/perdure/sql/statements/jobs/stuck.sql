-- Does: jobs in the hands of living workers that report progress or save checkpoints, and have not advanced for so long: the longest first.
-- Locks: none.
-- Index: progress and checkpoint whole, few rows beside job; job by id; lease whole when there is one that stands still.
-- Bound: `limit` rows.
with still as materialized (
    select s.job, max(s.advanced_at) as advanced_at
    from (select job, advanced_at from perdure.progress union all select job, advanced_at from perdure.checkpoint) s
    group by s.job having max(s.advanced_at) < clock_timestamp() - %(seconds)s::float8 * interval '1 second'
)
select j.id, j.task, w.name as worker,
       extract(epoch from clock_timestamp() - greatest(l.claimed_at, s.advanced_at))::float8 as still_seconds
from still s
join perdure.job j on j.id = s.job
join perdure.lease l on j.id = any(l.jobs)
join perdure.worker w on w.id = l.worker and w.state in ('alive', 'draining')
where (j.id, j.generation) in (select t.id, t.generation from unnest(l.jobs, l.generations) as t(id, generation))
  and l.claimed_at < clock_timestamp() - %(seconds)s::float8 * interval '1 second'
order by still_seconds desc limit %(limit)s::int
