-- Does: notes why a follow-up can't be enqueued, so that nobody tries again and somebody may look.
-- Locks: the row.
-- Index: follow_up by job and number.
-- Bound: one row.
update perdure.follow_up set problem = %(problem)s::text where job = %(job)s::bigint and number = %(number)s::int returning job
