-- Does: drops cancel requests whose job has ended.
-- Locks: the request rows.
-- Index: cancel_request by id.
-- Bound: the ids given.
delete from perdure.cancel_request c
where c.id = any(%(ids)s::bigint[])
  and (not exists (select from perdure.job j where j.id = c.id offset 0) or exists (select from perdure.dead d where d.id = c.id offset 0))
