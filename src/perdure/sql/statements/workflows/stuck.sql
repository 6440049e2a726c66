-- Does: live runs that nothing will ever move: in no place, or waiting for nothing.
-- Locks: none.
-- Index: whole of the runs that live; each place by its key; step by run.
-- Bound: `limit` runs.
select r.id, r.job,
       case when x.id is null then 'its job stands in no place'
            when exists (select from perdure.step s where s.run = r.job and s.state = 'waiting') then 'it waits for a child that has ended'
            else 'it waits, and for nothing: no moment, no signal, no child' end as problem
from perdure.run r
left join perdure.job j on j.id = r.job
left join perdure.waiting x on x.id = r.job
where r.ended_at is null
  and case when x.id is not null
           then x.wake_at is null and not exists (select from perdure.nudge n where n.id = r.job)
                and not exists (select from perdure.step s where s.run = r.job and s.state = 'waiting'
                                and (s.kind <> 'child' or exists (select from perdure.job j where j.id = s.detail::bigint
                                                                  and not exists (select from perdure.dead d where d.id = j.id))))
           else not exists (select from perdure.history h where h.id = r.job)
                and not exists (select from perdure.ready p where p.lane = j.lane and p.pos = j.pos)
                and not exists (select from perdure.scheduled p where p.run_at = j.run_at and p.id = j.id)
                and not exists (select from perdure.held p where p.id = j.id)
                and not exists (select from perdure.dead p where p.id = j.id)
                and not exists (select from perdure.lease l cross join unnest(l.jobs, l.generations) as t(id, generation)
                                where t.id = j.id and t.generation = j.generation) end
order by r.job limit %(limit)s::int
