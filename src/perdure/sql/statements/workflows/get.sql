-- Does: runs as people see them: where each stands and what it waits for; by id, or a page of them, newest first.
-- Locks: none.
-- Index: run_id or run by job, descending; the view's indexes by id; step by run.
-- Bound: `limit` runs, and what each waits for.
select r.id, r.job, r.name, r.version, r.round, r.parent, r.attributes::text as attributes, r.created_at, r.ended_at, r.deadline_at,
       r.paused_at, r.failed_step, j.place, j.reason, j.outcome, j.queue, coalesce(r.trouble, j.error) as error, j.payload::text as input,
       j.result::text as result, case when j.place = 'waiting' then j.run_at end as wake_at,
       coalesce((select array_agg(s.kind || ' ' || coalesce(s.detail, s.name) order by s.seq) from perdure.step s
                 where s.run = r.job and s.ended_at is null and r.ended_at is null), '{}') as waits_for
from perdure.run r
left join lateral (
    select x.place, x.reason, x.outcome, x.queue, x.error, x.payload, x.result, x.run_at from perdure.jobs x
    where x.id = r.job order by x.finished_at desc nulls first limit 1
) j on true
where (%(id)s::text is null or (r.id = %(id)s::text and not r.superseded))
  and (%(cursor)s::bigint is null or r.job < %(cursor)s::bigint)
  and (%(name)s::text is null or r.name = %(name)s::text)
  and (%(attributes)s::text is null or r.attributes::jsonb @> %(attributes)s::text::jsonb)
  and (%(state)s::text is null or %(state)s::text = case
        when r.paused_at is not null and j.place not in ('history', 'dead') then 'paused'
        when j.place in ('ready', 'leased', 'scheduled') then 'running' when j.place = 'waiting' then 'waiting'
        when j.place = 'held' then 'parked' when j.place = 'dead' then j.reason when j.place = 'history' then j.outcome else 'lost' end)
order by r.job desc limit %(limit)s::int
