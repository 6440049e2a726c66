-- Does: forgets what handlers have done too long ago.
-- Locks: the rows, skipping locked ones.
-- Index: effect by expires_at.
-- Bound: `limit` rows.
with old as materialized (
    select ctid as place from perdure.effect where expires_at <= statement_timestamp()
    order by expires_at limit %(limit)s::int for update skip locked
), gone as (
    delete from perdure.effect where ctid = any(array(select place from old)) returning 1
)
select count(*) as forgotten from gone
