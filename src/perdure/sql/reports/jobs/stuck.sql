-- Who has each job, until when, how often was it tried, and is the next step a retry, the dead or a person's?
-- Reads: job and the places from end to end: a second for each million of jobs. Ready jobs with somebody to run them are left out.
-- Then: next_action says who acts: retry and start happen by themselves; dead_letter ends it there; manual waits for what `act` says.
with serving as (
    select unnest(w.queues) as queue, count(*) as workers
    from perdure.worker w where w.state = 'alive' and w.expires_at > clock_timestamp() group by 1
), living as (
    select count(*) as workers from perdure.worker w where w.state = 'alive' and w.expires_at > clock_timestamp()
), leased as (
    select t.id, t.generation, l.id as lease, l.worker, w.name, w.expires_at,
           w.state in ('alive', 'draining') and w.expires_at > clock_timestamp() as trusted
    from perdure.lease l
    cross join lateral unnest(l.jobs, l.generations) as t(id, generation)
    left join perdure.worker w on w.id = l.worker
), standing as (
    select j.id, j.task, q.name as queue, j.key, j.attempt as attempts,
           (j.options -> 'retry' ->> 'max_attempts')::int as attempts_max, j.rescues,
           coalesce((j.options ->> 'at_most_once')::boolean, false) as once, q.paused_at is not null as paused,
           coalesce(v.workers, 0) as serving, living.workers as living,
           case when r.id is not null then 'ready' when s.id is not null then 'scheduled' when h.id is not null then 'held'
                when d.id is not null then 'dead' when u.id is not null then 'waiting' when l.id is not null then 'leased' else 'nowhere' end as place,
           coalesce(h.reason, d.reason) as reason, s.run_at, h.key as held_key, l.name as claimed_by, l.lease,
           l.expires_at as lease_until, coalesce(l.trusted, false) as trusted
    from perdure.job j
    join perdure.queue q on q.id = j.lane / 4096
    cross join living
    left join serving v on v.queue = q.name
    left join perdure.ready r on r.lane = j.lane and r.pos = j.pos
    left join perdure.scheduled s on s.run_at = j.run_at and s.id = j.id
    left join perdure.held h on h.id = j.id
    left join perdure.dead d on d.id = j.id
    left join perdure.waiting u on u.id = j.id
    left join leased l on l.id = j.id and l.generation = j.generation
)
select id, task, queue, key, place, reason, claimed_by, lease, lease_until, attempts, attempts_max, rescues, n.next_action, n.act
from standing
cross join lateral (
    select case
        when place = 'dead' then array['manual', 'correct the cause, then perdure jobs redrive ' || id || '; or discard it']
        when place = 'nowhere' then array['manual', 'it stands nowhere: see jobs.misplaced']
        when place = 'waiting' then array['start', 'it waits for its time, a signal or a child: perdure explain ' || id]
        when place = 'held' then array['manual', 'it is held (' || reason || coalesce(', ' || held_key, '') || '): perdure explain ' || id]
        when place = 'ready' and paused then array['manual', 'perdure queues resume ' || queue]
        when place = 'ready' then array['manual', 'start a worker: perdure worker APP --queues ' || queue]
        when place = 'scheduled' and living = 0 then array['manual', 'start a worker: perdure worker APP']
        when place = 'scheduled' and attempts > 0 then array['retry', 'it is tried again when it is due']
        when place = 'scheduled' then array['start', 'it starts when it is due']
        when trusted and attempts_max is not null and attempts + 1 >= attempts_max
            then array['dead_letter', 'it runs for the last time: if it fails it is dead']
        when trusted then array['retry', 'it runs; if it fails it is tried again as its policy says']
        when living = 0 then array['manual', 'start a worker: perdure worker APP; it takes back what the silent one holds']
        when once then array['dead_letter', 'its worker is lost, and it must not run twice: if it may have begun it will be dead, to be reviewed']
        else array['retry', 'its worker is lost: another one takes it back within seconds, uncharged'] end as said
) c
cross join lateral (select said[1] as next_action, said[2] as act) n
where place <> 'ready' or paused or serving = 0
order by case n.next_action when 'manual' then 0 when 'dead_letter' then 1 when 'retry' then 2 else 3 end, id limit 500;
