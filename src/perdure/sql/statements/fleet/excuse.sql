-- Does: excuses the unclean ends of workers so far: they don't count towards a crash loop any more.
-- Locks: the rows.
-- Index: worker_ended.
-- Bound: the workers that ended uncleanly within a day.
update perdure.worker set excused = true
where state in ('dead', 'left') and (state = 'dead' or cause is not null) and not excused
returning id
