-- Does: says that a step that failed, or has to be tried again, is done, with this result. A note on a child follows its job in `detail`.
-- Locks: the step's row.
-- Index: step by run and name.
-- Bound: one row.
update perdure.step s
set state = 'done', ended_at = clock_timestamp(), outcome = %(outcome)s::text::json,
    detail = case when s.kind = 'child' then s.detail || coalesce(' ' || %(note)s::text, '') else coalesce(%(note)s::text, s.detail) end
where s.run = %(run)s::bigint and s.name = %(step)s::text and s.state in ('failed', 'retry', 'begun', 'cancelled')
returning s.name
