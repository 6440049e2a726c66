-- Does: runs as people see them: where each stands and what it waits for; the one of an id, or those of some jobs, newest first.
-- Locks: none.
-- Index: run_id and run by job; the view's indexes by id; step by run.
-- Bound: the runs given, and what each waits for. What history has forgotten of a run that another one awaits is told by the run.
select r.id, r.job, r.name, r.version, r.round, r.parent, r.attributes::text as attributes, r.created_at, r.ended_at, r.deadline_at,
       r.paused_at, r.failed_step, coalesce(j.place, case when r.told is not null then 'history' end) as place, j.reason,
       coalesce(j.outcome, case when j.place is null then r.told ->> 0 end) as outcome, j.queue,
       coalesce(r.trouble, j.error, case when j.place is null then r.told ->> 2 end) as error, j.payload::text as input,
       coalesce(j.result, case when j.place is null then r.told -> 1 end)::text as result, case when j.place = 'waiting' then j.run_at end as wake_at,
       coalesce((select array_agg(case when s.kind in ('child', 'sleep') then s.name else s.kind || ' ' || coalesce(s.detail, s.name) end order by s.seq) from perdure.step s
                 where s.run = r.job and s.ended_at is null and r.ended_at is null), '{}') as waits_for
from perdure.run r
left join lateral (
    select x.place, x.reason, x.outcome, x.queue, x.error, x.payload, x.result, x.run_at from perdure.jobs x
    where x.id = r.job order by x.finished_at desc nulls first limit 1
) j on true
where r.job = any(%(jobs)s::bigint[] || array(select o.job from perdure.run o where o.id = %(id)s::text and not o.superseded))
order by r.job desc
