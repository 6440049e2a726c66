-- Does: forgets pauses of jobs that go on, or have ended. One of a job that is leased stays: it may be told to stop just now, and would be set aside for good.
-- Locks: the pauses' rows.
-- Index: pause by id; job and each place by its key.
-- Bound: the ids given.
delete from perdure.pause p
where p.id = any(%(ids)s::bigint[])
  and (not exists (select from perdure.job j where j.id = p.id offset 0) or exists (select from perdure.dead d where d.id = p.id offset 0)
       or (p.resumed and exists (
           select from perdure.job j where j.id = p.id
             and (exists (select from perdure.ready y where y.lane = j.lane and y.pos = j.pos offset 0)
                  or exists (select from perdure.scheduled s where s.run_at = j.run_at and s.id = j.id offset 0)) offset 0)))
returning p.id
