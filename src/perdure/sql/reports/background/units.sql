-- Which chores fail, are parked, or are late?
-- Reads: the memory of chores: a row for each kind; the living workers.
-- Then: correct what last_error says, and let a parked one be tried again with `perdure chores unpark NAME`.
select c.name, c.consecutive_failures, c.last_error, c.last_success_at, c.last_failure_at,
       extract(epoch from clock_timestamp() - c.last_success_at)::float8 as done_seconds_ago,
       case when c.parked_until > clock_timestamp() then c.parked_until end as parked_until, c.due_at, c.batch,
       (extract(epoch from clock_timestamp() - coalesce(c.last_success_at, c.last_failure_at, c.last_started_at))
        / extract(epoch from c.period))::float8 as late_periods,
       (select count(*) from perdure.worker w where w.state = 'alive' and w.expires_at > clock_timestamp()) as workers
from perdure.chore c
order by c.consecutive_failures desc, c.name;
