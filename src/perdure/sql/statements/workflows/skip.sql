-- Does: says that a step that failed, or has to be tried again, is done, with this result.
-- Locks: the step's row.
-- Index: step by run and name.
-- Bound: one row.
update perdure.step s
set state = 'done', ended_at = clock_timestamp(), outcome = %(outcome)s::text::json, detail = coalesce(%(note)s::text, s.detail)
where s.run = %(run)s::bigint and s.name = %(step)s::text and s.state in ('failed', 'retry', 'begun', 'cancelled')
returning s.name
