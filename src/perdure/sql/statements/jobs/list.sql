-- Does: jobs newest first below a cursor, of one queue, place, task, tag or all.
-- Locks: none.
-- Index: job and history by id, backwards; then each job of the page by its id.
-- Bound: `limit` rows, and those that the filters pass over. Ordered reads of the view itself would sort every job there is; and a filter is written as a coalesce or a case because the planner takes these for half of the rows, where it takes `… is null or …` for next to none.
with page as materialized (
    select id from (
        (select j.id from perdure.job j
         where j.id < coalesce(%(cursor)s::bigint, 9223372036854775807)
           and coalesce(j.lane / 4096 = (select q.id from perdure.queue q where q.name = %(queue)s::text), %(queue)s::text is null)
           and coalesce(j.task = %(task)s::text, %(task)s::text is null)
           and coalesce(%(tag)s::text = any(j.tags), %(tag)s::text is null)
           and case when %(place)s::text is null then true
                    else %(place)s::text = case
                        when (select true from perdure.ready r where r.lane = j.lane and r.pos = j.pos) then 'ready'
                        when (select true from perdure.scheduled s where s.run_at = j.run_at and s.id = j.id) then 'scheduled'
                        when (select true from perdure.held h where h.id = j.id) then 'held'
                        when (select true from perdure.waiting w where w.id = j.id) then 'waiting'
                        when (select true from perdure.dead d where d.id = j.id) then 'dead'
                        else 'leased' end
               end
         order by j.id desc limit %(limit)s::int)
        union all
        (select f.id from perdure.history f
         where f.id < coalesce(%(cursor)s::bigint, 9223372036854775807)
           and coalesce(f.lane / 4096 = (select q.id from perdure.queue q where q.name = %(queue)s::text), %(queue)s::text is null)
           and coalesce(f.task = %(task)s::text, %(task)s::text is null)
           and coalesce(%(tag)s::text = any(f.tags), %(tag)s::text is null)
           and coalesce(%(place)s::text = 'history', true)
         order by f.id desc limit %(limit)s::int)
    ) either order by id desc limit %(limit)s::int
)
select id, task, queue, key, place, reason, outcome, priority, attempt, rescues, generation, created_at, run_at, expires_at,
       started_at, finished_at, tags, options::text, error, payload::text, result::text, context::text
from perdure.jobs
where id = any(array(select id from page))
order by id desc
