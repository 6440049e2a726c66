-- Does: lets runs wait for a moment only, because somebody who writes to their inbox hasn't committed yet.
-- Locks: the waiting rows.
-- Index: waiting by id.
-- Bound: the ids given.
update perdure.waiting set wake_at = least(wake_at, clock_timestamp() + %(seconds)s::float8 * interval '1 second')
where id = any(%(ids)s::bigint[])
