-- Does: where one entity stands.
-- Locks: none.
-- Index: entity by machine and id.
-- Bound: one row.
select machine, id, state, revision, event, entered_at, stuck_at, moved_by, reason
from perdure.entity where machine = %(machine)s::text and id = %(id)s::text
