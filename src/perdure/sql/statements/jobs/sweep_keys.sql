-- Does: drops unique keys that nobody needs any more: their lifetime is over and their job done, or their job ended in the hands of a worker that doesn't know of keys. Returns where the next batch begins (null: this was the last).
-- Locks: the keys, skipping locked ones.
-- Index: unique_key by id, from a position on; job by id.
-- Bound: `limit` keys looked at.
with looked as materialized (
    select id from perdure.unique_key where id > %(after)s::bigint order by id limit %(limit)s::int
), mine as materialized (
    select u.ctid as place from perdure.unique_key u
    where u.id = any(array(select id from looked))
      and (u.until <> 'expired' or u.expires_at <= clock_timestamp()) and coalesce(u.expires_at <= clock_timestamp(), true)
      and (u.until = 'expired' or not exists (select from perdure.job j where j.id = u.id offset 0))
    for update skip locked
), gone as (
    delete from perdure.unique_key u where u.ctid = any(array(select place from mine)) returning u.id
)
select (select count(*) from gone) as dropped,
       case when (select count(*) from looked) = %(limit)s::int then (select max(id) from looked) end as after
