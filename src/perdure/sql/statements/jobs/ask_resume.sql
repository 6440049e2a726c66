-- Does: notes that a paused job is to go on, and hurries whoever sees to it.
-- Locks: the pause's row.
-- Index: pause by id.
-- Bound: one row. None: it isn't paused.
with asked as (
    update perdure.pause set resumed = true where id = %(id)s::bigint returning id
)
select id, pg_notify('perdure', 'cancel')::text as hurried from asked
