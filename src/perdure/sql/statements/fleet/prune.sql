-- Does: forgets workers that ended long ago and hold nothing.
-- Locks: the rows.
-- Index: whole of worker, which this keeps small; lease by worker.
-- Bound: the workers ended before.
delete from perdure.worker w
where w.state in ('dead', 'left') and w.ended_at < clock_timestamp() - %(days)s::int * interval '1 day'
  and not exists (select from perdure.lease l where l.worker = w.id)
