-- Does: lets one worker at a time do a chore: `mine` for whoever gets the lock, which goes with the transaction; bounds how long that transaction waits for other locks (null: as the session says); and says what is remembered of the chore. The memory may be a moment older than the lock.
-- Locks: an advisory lock of the transaction, never waited for.
-- Index: chore by name; worker by id; worker_ended, for a chore that a crash loop pauses.
-- Bound: one chore; the workers that ended within the window.
select g.mine, set_config('lock_timeout', coalesce(%(lock_timeout)s::text, current_setting('lock_timeout')), true) as lock_timeout,
       coalesce(c.consecutive_failures, 0) as failures, c.batch, c.running_on,
       coalesce(w.state in ('alive', 'draining') and w.expires_at > clock_timestamp(), false) as runs,
       coalesce(w.state = 'left' and w.cause is null, false) as left_cleanly,
       coalesce(extract(epoch from c.due_at - clock_timestamp())::float8, 0) as due_in,
       extract(epoch from clock_timestamp() - c.last_success_at)::float8 as succeeded_ago,
       case when %(pausable)s::boolean then (
           select count(*) from perdure.worker u
           where u.state in ('dead', 'left') and u.ended_at > clock_timestamp() - %(window)s::float8 * interval '1 second'
             and (u.state = 'dead' or u.cause is not null) and not u.excused) else 0 end as crashes
from (select pg_try_advisory_xact_lock(hashtext('perdure.chores'), hashtext(%(chore)s::text)) as mine) g
left join perdure.chore c on c.name = %(chore)s::text
left join perdure.worker w on w.id = c.running_on
