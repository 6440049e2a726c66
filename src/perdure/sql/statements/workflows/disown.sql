-- Does: takes the ids away from those children of a run that have ended for good, so that it starts them anew.
-- Locks: the children's run rows.
-- Index: run and job by id.
-- Bound: the ids given.
update perdure.run r set superseded = true
where r.job = any(%(ids)s::bigint[]) and r.parent = %(parent)s::bigint and not r.superseded
  and not exists (select from perdure.job j where j.id = r.job offset 0)
