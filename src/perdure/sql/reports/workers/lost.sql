-- Which slots of workers are lost to handlers that go on after their jobs have ended?
-- Reads: the living workers, as their last beats have left them.
-- Then: let threads ask ctx.cancelled, or bound what they wait for, and coroutines not swallow CancelledError; a restart of the worker frees the slots.
select w.id, w.name, w.host, w.pid, q.key as queue, (q.value ->> 'lost')::int as lost, (q.value ->> 'slots')::int as slots
from perdure.worker w
cross join lateral json_each(w.gauges -> 'queues') q
where w.state in ('alive', 'draining') and (q.value ->> 'lost')::int > 0
order by lost desc, w.id, q.key;
