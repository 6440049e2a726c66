-- How many live jobs stand where, by queue and task?
-- Reads: job and the places from end to end: a second for each million of jobs.
-- Then: ready that grows wants workers; scheduled with attempts is what fails and is tried again; dead and held want a person.
select q.name as queue, j.task,
       case when r.id is not null then 'ready' when s.id is not null then 'scheduled' when h.id is not null then 'held'
            when d.id is not null then 'dead' when v.id is not null then 'waiting' else 'leased' end as place,
       count(*) as jobs
from perdure.job j
join perdure.queue q on q.id = j.lane / 4096
left join perdure.ready r on r.lane = j.lane and r.pos = j.pos
left join perdure.scheduled s on s.run_at = j.run_at and s.id = j.id
left join perdure.held h on h.id = j.id
left join perdure.dead d on d.id = j.id
left join perdure.waiting v on v.id = j.id
group by 1, 2, 3 order by jobs desc, 1, 2, 3 limit 500;
