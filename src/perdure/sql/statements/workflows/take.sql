-- Does: takes messages out of inboxes, for the steps that were recorded with them.
-- Locks: the message rows.
-- Index: signal by id.
-- Bound: the messages given.
update perdure.signal m set taken = t.name, taken_at = clock_timestamp()
from unnest(%(ids)s::bigint[], %(runs)s::bigint[], %(names)s::text[]) as t(id, run, name)
where m.id = t.id and m.id = any(%(ids)s::bigint[]) and m.taken is null and m.run is not distinct from t.run
  and exists (select from perdure.step s where s.run = t.run and s.name = t.name offset 0)
