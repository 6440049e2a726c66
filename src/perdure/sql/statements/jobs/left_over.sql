-- Does: how much is left to do at once in the queues that a worker serves: what is ready, due, to be woken, or in hand.
-- Locks: none.
-- Index: whole of ready, lease, and of what is due in scheduled and waiting; job by id.
-- Bound: the rows of those tables; it is for tests.
with here as materialized (
    select q.id from perdure.queue q join perdure.worker w on q.name = any(w.queues)
    where w.id = %(worker)s::int and q.paused_at is null
), at_once as (
    select r.id, null::int as generation from perdure.ready r
    union all select s.id, null from perdure.scheduled s where s.run_at <= clock_timestamp()
    union all select w.id, null from perdure.waiting w
    where w.wake_at <= clock_timestamp() or exists (select from perdure.nudge n where n.id = w.id)
    union all select unnest(l.jobs), unnest(l.generations) from perdure.lease l
)
select count(*) as jobs from at_once a join perdure.job j on j.id = a.id and j.generation = coalesce(a.generation, j.generation)
where j.lane / 4096 in (select id from here)
