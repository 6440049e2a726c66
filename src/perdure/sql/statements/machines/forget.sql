-- Does: deletes an entity, and by its trigger its history; the other trigger refuses one that isn't in a final state.
-- Locks: the entity's row, then those of its moves.
-- Index: entity by machine and id; entity_move by machine, id and revision.
-- Bound: one entity and its moves.
delete from perdure.entity where machine = %(machine)s::text and id = %(id)s::text
returning machine, id, state, revision, event, entered_at, stuck_at, moved_by, reason
