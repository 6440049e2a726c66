-- Does: counts a queue unless somebody did so a moment ago, and says whether jobs wait in line for room in it.
-- Locks: an advisory lock while it is counted, never waited for.
-- Index: queue by id; queue_sample by queue and time; ready (lane, pos); scheduled (run_at, id).
-- Bound: twice the queue's bound; 100,000 rows without one.
select q.guarded, exists (select from perdure.scheduled s where s.run_at = perdure.line(q.id)) as lined,
       case when exists (select from perdure.queue_sample x
                         where x.queue = q.id and x.at > clock_timestamp() - %(fresh)s::float8 * interval '1 second')
            then false else perdure.sample(q.id) end as taken,
       coalesce((select r.tenant_required from perdure.queue_rule r where r.queue = q.id), false) as tenant_required
from perdure.queue q where q.id = %(queue)s::int
