-- Does: the entities of a machine in a state, by id, after a cursor.
-- Locks: none.
-- Index: entity_state.
-- Bound: `limit` rows.
select machine, id, state, revision, event, entered_at, stuck_at, moved_by, reason
from perdure.entity
where machine = %(machine)s::text and state = %(state)s::text and id > coalesce(%(cursor)s::text, '')
order by id limit %(limit)s::int
