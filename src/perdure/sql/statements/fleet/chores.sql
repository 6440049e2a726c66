-- Does: what is remembered of every chore.
-- Locks: none.
-- Index: whole of chore: a row for each kind of chore.
-- Bound: the kinds of chores.
select c.name, c.consecutive_failures, c.last_error, c.last_started_at, c.last_success_at, c.last_failure_at, c.due_at,
       extract(epoch from c.period)::float8 as period_seconds,
       case when c.parked_until > clock_timestamp() then c.parked_until end as parked_until,
       c.batch, case when w.state in ('alive', 'draining') and w.expires_at > clock_timestamp() then c.running_on end as running_on
from perdure.chore c left join perdure.worker w on w.id = c.running_on
order by c.name
