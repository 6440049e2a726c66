-- Does: entities that have stood in their state for longer than they should, the longest first.
-- Locks: none.
-- Index: entity_stuck.
-- Bound: `limit` rows.
select machine, id, state, revision, event, entered_at, stuck_at, moved_by, reason
from perdure.entity
where stuck_at <= statement_timestamp() and machine = coalesce(%(machine)s::text, machine)
order by stuck_at limit %(limit)s::int
