-- Does: gives an entity its row, in the machine's initial state; none when it has one.
-- Locks: the entity's key, against another who creates it.
-- Index: entity by machine and id; machine by name.
-- Bound: one row.
insert into perdure.entity (machine, id, state, moved_by, reason, context)
select m.name, %(id)s::text, m.initial, %(by)s::text, %(reason)s::text, %(context)s::text::json
from perdure.machine m where m.name = %(machine)s::text
on conflict (machine, id) do nothing
returning machine, id, state, revision, event, entered_at, stuck_at, moved_by, reason
