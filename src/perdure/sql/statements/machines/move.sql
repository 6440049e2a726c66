-- Does: moves an entity by an event, if a transition by it leaves the state that the entity stands in at this moment, and it has the revision that was expected (null: any).
-- Locks: the entity's row.
-- Index: entity by machine and id; transition by machine, source and event.
-- Bound: one row.
update perdure.entity e
set state = t.target, revision = e.revision + 1, event = t.event, moved_by = %(by)s::text, reason = %(reason)s::text,
    context = %(context)s::text::json
from perdure.transition t
where e.machine = %(machine)s::text and e.id = %(id)s::text
  and t.machine = e.machine and t.event = %(event)s::text and t.source = e.state
  and e.revision = coalesce(%(revision)s::int, e.revision)
returning e.machine, e.id, e.state, e.revision, e.event, e.entered_at, e.stuck_at, e.moved_by, e.reason
