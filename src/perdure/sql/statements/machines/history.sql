-- Does: every move of an entity, in order.
-- Locks: none.
-- Index: entity_move by machine, id and revision.
-- Bound: the moves of one entity.
select revision, event, source, target, moved_at, moved_by, reason, context::text
from perdure.entity_move where machine = %(machine)s::text and id = %(id)s::text order by revision
