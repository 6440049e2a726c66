-- Does: jobs above an id that have ended without their follow-ups being seen to: dead by rescue, ended by an older worker or by SQL alone; how each ended, and its context.
-- Locks: none.
-- Index: dead by id, from a position on; with `all`, follow_up and job by id; history by id.
-- Bound: `limit` jobs.
select e.job, e.outcome, e.context::text as context
from (
    (select d.id as job, 'dead' as outcome, (select j.context from perdure.job j where j.id = d.id) as context
     from perdure.dead d
     where d.id > %(after)s::bigint
       and exists (select from perdure.follow_up f where f.job = d.id and f.cause = 'death' and f.problem is null offset 0)
     order by d.id limit %(limit)s::int)
    union all
    (select o.job, coalesce(h.outcome, 'gone'), h.context
     from (select distinct f.job from perdure.follow_up f
           where %(all)s::boolean and f.problem is null and f.job > %(after)s::bigint
             and not exists (select from perdure.job j where j.id = f.job offset 0)
           order by f.job limit %(limit)s::int) o
     left join lateral (select h.outcome, h.context from perdure.history h where h.id = o.job limit 1) h on true)
) e
order by e.job limit %(limit)s::int
