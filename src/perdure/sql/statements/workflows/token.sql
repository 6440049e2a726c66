-- Does: which run, and which signal of it, a token is for.
-- Locks: none.
-- Index: run by job; step by run.
-- Bound: one run's steps.
select r.id, s.detail as name
from perdure.step s join perdure.run r on r.job = s.run
where s.run = %(run)s::bigint and s.kind = 'token' and s.outcome #>> '{}' = %(token)s::text
