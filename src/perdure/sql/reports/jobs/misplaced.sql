-- Which jobs do not stand in exactly one place?
-- Reads: job and all places from end to end, in one snapshot: seconds with millions of jobs.
-- Then: there should be none. Find out what else writes to these tables.
with standing as (
    select r.id, 'ready' as place, exists (
               select from perdure.job j where j.id = r.id and j.lane = r.lane and j.pos = r.pos) as fits
    from perdure.ready r
    union all
    select s.id, 'scheduled', exists (select from perdure.job j where j.id = s.id and j.run_at = s.run_at)
    from perdure.scheduled s
    union all
    select h.id, 'held', exists (select from perdure.job j where j.id = h.id) from perdure.held h
    union all
    select w.id, 'waiting', exists (select from perdure.job j where j.id = w.id) from perdure.waiting w
    union all
    select d.id, 'dead', exists (select from perdure.job j where j.id = d.id) from perdure.dead d
    union all
    -- A lease may list jobs that have left it: only those whose generation it holds stand in it.
    select j.id, 'leased', true
    from perdure.lease l cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
    join perdure.job j on j.id = t.id and j.generation = t.generation
), placed as (
    select id, count(*) as places, string_agg(place, ', ' order by place) as named, bool_and(fits) as fits
    from standing group by id
)
select coalesce(j.id, p.id) as id,
       case when j.id is null then 'stands in ' || p.named || ' and has no body'
            when p.id is null then 'stands nowhere'
            when p.places > 1 then 'stands in ' || p.named
            else 'its body and its place (' || p.named || ') differ' end as problem
from perdure.job j full join placed p on p.id = j.id
where j.id is null or p.id is null or p.places > 1 or not p.fits
order by 1 limit 1000;
