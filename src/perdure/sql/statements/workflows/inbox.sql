-- Does: what was sent to a run, in order.
-- Locks: none.
-- Index: signal_run.
-- Bound: one run's inbox.
select m.name, m.sent_at, m.taken, m.taken_at, m.update, m.refusal, m.payload::text as payload
from perdure.signal m where m.run = %(run)s::bigint order by m.id
