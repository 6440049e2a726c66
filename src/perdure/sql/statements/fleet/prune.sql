-- Does: forgets workers that ended long ago and hold nothing.
-- Locks: the rows.
-- Index: worker_ended; lease by worker.
-- Bound: `limit` workers.
with old as materialized (
    select w.id from perdure.worker w
    where w.state in ('dead', 'left') and w.ended_at < clock_timestamp() - %(days)s::int * interval '1 day'
      and not exists (select from perdure.lease l where l.worker = w.id)
    order by w.ended_at limit %(limit)s::int for update of w skip locked
)
delete from perdure.worker w using old where w.id = old.id returning w.id
