-- Does: live runs that nothing will ever move: in no place, or waiting for nothing.
-- Locks: none.
-- Index: whole of the runs that live; each place by its key; step by run.
-- Bound: `limit` runs.
select r.id, r.job,
       case when x.id is not null then 'it waits, and for nothing: no moment, no signal, no child' else 'its job stands in no place' end as problem
from perdure.run r
left join perdure.job j on j.id = r.job
left join perdure.waiting x on x.id = r.job
where r.ended_at is null
  and case when x.id is not null
           then x.wake_at is null and not exists (select from perdure.step s where s.run = r.job and s.state = 'waiting')
                and not exists (select from perdure.nudge n where n.id = r.job)
           else not exists (select from perdure.history h where h.id = r.job)
                and not exists (select from perdure.ready p where p.lane = j.lane and p.pos = j.pos)
                and not exists (select from perdure.scheduled p where p.run_at = j.run_at and p.id = j.id)
                and not exists (select from perdure.held p where p.id = j.id)
                and not exists (select from perdure.dead p where p.id = j.id)
                and not exists (select from perdure.lease l cross join unnest(l.jobs, l.generations) as t(id, generation)
                                where t.id = j.id and t.generation = j.generation) end
order by r.job limit %(limit)s::int
