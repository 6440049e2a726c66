-- How did the last runs of workers end?
-- Reads: the workers, which are forgotten a day after their end.
-- Then: three unclean ends within ten minutes are a crash loop: see their logs, then perdure chores resume.
select w.id, w.name, w.host, w.pid, w.started_at, w.ended_at,
       case when w.state in ('alive', 'draining') then null else w.state = 'left' and w.cause is null end as clean,
       case when w.state = 'dead' then coalesce(w.cause, 'it fell silent: killed, frozen, or cut off') else w.cause end as cause,
       w.excused
from perdure.worker w
order by coalesce(w.ended_at, clock_timestamp()) desc, w.id desc limit 200;
