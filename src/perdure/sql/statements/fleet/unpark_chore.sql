-- Does: lets a chore be tried again at once, whatever it met before; its failures in a row begin anew.
-- Locks: the chore's row.
-- Index: chore by name.
-- Bound: one row.
update perdure.chore set parked_until = null, due_at = null, consecutive_failures = 0
where name = %(chore)s::text returning name
