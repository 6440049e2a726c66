-- Does: deletes rows past their keeping from the default partition of history, where the rows of a day without a partition stand.
-- Locks: the rows.
-- Index: none: the default partition is read as far as the bound needs, and is empty when all is well.
-- Bound: `limit` rows.
with old as materialized (
    select ctid from perdure.history_default
    where finished_at < (now() at time zone 'UTC')::date::timestamp at time zone 'UTC' - %(days)s::int * interval '1 day'
    limit %(limit)s::int for update skip locked
), gone as (
    delete from perdure.history_default d using old where d.ctid = old.ctid returning 1
)
select count(*) as rows from gone
