-- Does: forgets what handlers have done too long ago.
-- Locks: the rows, skipping locked ones.
-- Index: effect by expires_at.
-- Bound: `limit` rows.
with old as materialized (
    select handler, key from perdure.effect where expires_at <= statement_timestamp()
    order by expires_at limit %(limit)s::int for update skip locked
), gone as (
    delete from perdure.effect e using old o where e.handler = o.handler and e.key = o.key returning 1
)
select count(*) as forgotten from gone
